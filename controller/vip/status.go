package vip

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// moveFailed is the reason of a move whose placeholder failed.
const moveFailed = "PlaceholderFailed"

// protection is what is said about a VIP's standbys; the zero value says nothing.
type protection struct {
	guarded         bool
	reason, message string
}

// nextStatus is the status that the state makes of the VIP's present one. why is the reason of its last move, where known. It is pure.
func nextStatus(vip *v1alpha1.VIP, s state, p protection, places place.Places, why string, now metav1.Time) v1alpha1.VIPStatus {
	next := *vip.Status.DeepCopy()
	next.StandbyNodes = s.standbys
	next.Services = display(vip)
	next.Term = max(next.Term, s.term)
	announced := metav1.ConditionFalse
	if s.node != "" {
		announced = metav1.ConditionTrue
		if from := lastNode(vip, places); from != "" && from != s.node {
			next.LastMove = &v1alpha1.VIPMove{From: from, To: s.node, Reason: moveReason(places, why), Time: now}
		}
	}
	if next.Node != s.node {
		next.Node, next.Since = s.node, s.since
	}
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&next.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: now})
	}
	set(v1alpha1.VIPAnnounced, announced, s.reason, s.message)
	switch {
	case s.conflict != "":
		set(v1alpha1.VIPConflict, metav1.ConditionTrue, placeholder.ReasonConflict, s.conflict)
	case meta.FindStatusCondition(next.Conditions, v1alpha1.VIPConflict) != nil: // a condition that never was True isn't shown
		set(v1alpha1.VIPConflict, metav1.ConditionFalse, "NoConflict", "")
	}
	switch {
	case p.guarded:
		set(v1alpha1.VIPGuarded, metav1.ConditionTrue, p.reason, p.message)
	case p.reason != "":
		set(v1alpha1.VIPGuarded, metav1.ConditionFalse, p.reason, p.message)
	}
	return next
}

// lastNode is who announced the VIP last: the status says so, unless it said "nobody" in between; then the placeholder
// remembers.
func lastNode(vip *v1alpha1.VIP, places place.Places) string {
	if vip.Status.Node != "" {
		return vip.Status.Node
	}
	if vip.Status.Since == nil && vip.Status.LastMove == nil && meta.FindStatusCondition(vip.Status.Conditions, v1alpha1.VIPAnnounced) == nil {
		return ""
	}
	if places.Live == nil {
		return ""
	}
	peers, err := placeholder.ParsePeers(places.Live.Annotations[placeholder.AnnotationPeers])
	if err != nil {
		return ""
	}
	previous := slices.IndexFunc(peers, func(peer placeholder.Peer) bool { return peer.Role == "" })
	if previous < 0 {
		return ""
	}
	from := peers[previous].Node
	if move := vip.Status.LastMove; move != nil && move.To == places.Live.Spec.NodeName && move.From == from {
		return "" // that move is on record
	}
	return from
}

func moveReason(places place.Places, why string) string {
	if why != "" && why != failover.WhyDeleted {
		return why
	}
	if last := places.Previous(); last != nil && last.Status.Phase == corev1.PodFailed {
		return moveFailed
	}
	return failover.WhyDeleted
}

func display(vip *v1alpha1.VIP) string {
	names := make([]string, len(vip.Spec.Services))
	for i, ref := range vip.Spec.Services {
		names[i] = ref.Namespace + "/" + ref.Name
	}
	return strings.Join(names, ",")
}

// report writes the VIP's status and its Services' conditions where they change, and tells the Services' owners. It returns
// after how long to look again because nothing was written yet.
func (r *Reconciler) report(ctx context.Context, vip *v1alpha1.VIP, services []*corev1.Service, s state, v failover.View, places place.Places) (time.Duration, error) {
	if s.node == "" && s.patience > 0 {
		if wait := r.waitFor(vip.Name, s); wait > 0 {
			return wait, nil
		}
	} else {
		r.stopWaiting(vip.Name)
	}
	p, again := protectionOf(vip, s, v)
	next := nextStatus(vip, s, p, places, r.whyMoved(vip, s.node), metav1.NewTime(r.Clock.Now()))
	if !equality.Semantic.DeepEqual(vip.Status, next) {
		if err := r.patchStatus(ctx, vip, next); err != nil {
			return 0, err
		}
		if !equality.Semantic.DeepEqual(vip.Status.LastMove, next.LastMove) {
			r.forgetReason(vip.Name)
			moves.WithLabelValues(next.LastMove.Reason).Inc()
		}
		for _, service := range services {
			r.tell(service, vip, &next, s, places)
		}
	}
	for _, service := range services {
		if err := r.reportTo(ctx, service); err != nil {
			return 0, err
		}
	}
	return again, nil
}

// reportTo writes what becomes of all of a Service's VIPs into its condition. What a collision takes from it is package service's to say.
func (r *Reconciler) reportTo(ctx context.Context, service *corev1.Service) error {
	vips := slices.DeleteFunc(r.Ledger.VIPsOf(service.UID), func(v *v1alpha1.VIP) bool {
		return v.DeletionTimestamp != nil || v.Spec.ReleasedAt != nil
	})
	said, ok := serving.Announcement(vips)
	if !ok {
		return nil
	}
	_, err := r.Statuses.Patch(ctx, service, func(status *corev1.ServiceStatus) {
		serving.SetAnnounced(status, said.Status, said.Reason, said.Message, said.LastTransitionTime)
	})
	return client.IgnoreNotFound(err)
}

// guardedPatience is how long a VIP may be without a guard before that is written down: longer than a standby takes to be placed
// and to hear its active, so that the usual case costs one write.
const guardedPatience = 5 * time.Second

// protectionOf says what there is to say about a VIP's standbys, and after how long to look again.
func protectionOf(vip *v1alpha1.VIP, s state, v failover.View) (protection, time.Duration) {
	known := meta.FindStatusCondition(vip.Status.Conditions, v1alpha1.VIPGuarded)
	if s.node == "" && !(v.Unserved && known != nil) || v.Wanted == 0 && known == nil {
		return protection{}, 0
	}
	var p protection
	p.guarded, p.reason, p.message = failover.Guarded(v)
	if !p.guarded && known == nil && v.Live != nil && v.Live.Age < guardedPatience {
		return protection{}, guardedPatience - v.Live.Age
	}
	return p, 0
}

func (r *Reconciler) patchStatus(ctx context.Context, vip *v1alpha1.VIP, next v1alpha1.VIPStatus) error {
	changed := vip.DeepCopy()
	changed.Status = next
	if err := r.Client.Status().Patch(ctx, changed, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("patching status of VIP %s: %w", vip.Name, err)
	}
	r.Ledger.ObserveVIP(changed)
	return nil
}

// tell makes the events that a change of status is worth.
func (r *Reconciler) tell(service *corev1.Service, vip *v1alpha1.VIP, next *v1alpha1.VIPStatus, s state, places place.Places) {
	event := serving.Event{Action: "Announce"}
	if related := places.Live; related != nil { // a nil pointer in the interface would not be a nil interface
		event.Related = related
	}
	before := meta.FindStatusCondition(vip.Status.Conditions, v1alpha1.VIPAnnounced)
	switch {
	case s.node != "" && next.LastMove != nil && !equality.Semantic.DeepEqual(vip.Status.LastMove, next.LastMove):
		event.Reason, event.Action = "Moved", "Move"
		event.Note = fmt.Sprintf("%s moved from %s to %s: %s", strings.Join(vip.Spec.Addresses, " and "), next.LastMove.From, s.node, next.LastMove.Reason)
	case s.node != "" && vip.Status.Node != s.node:
		event.Reason, event.Note = "Announced", s.message
	case s.node == "" && (before == nil || before.Reason != s.reason || before.Message != s.message):
		event.Warning = true
		event.Reason, event.Note = warning(s)
	}
	if event.Reason != "" {
		r.Teller.Tell(service, event)
	}
	if s.conflict != "" && s.node != "" {
		r.Teller.TellOnce(service, "conflict/"+vip.Name, serving.Event{Warning: true, Reason: "AddressConflict", Action: "Announce", Note: s.conflict, Related: event.Related})
	} else if s.conflict == "" {
		r.Teller.Settle(service.UID, "conflict/"+vip.Name)
	}
}

// warning names what is wrong and says what to do.
func warning(s state) (reason, note string) {
	what := strings.TrimSuffix(s.message, ".")
	switch {
	case noSlot(s.message):
		return "NoPodSlot", what + ". A VIP takes a pod slot of the node that announces it: raise the kubelets' maxPods, add nodes or delete pods. It is tried again by itself"
	case s.reason == v1alpha1.ReasonNoEndpoints:
		return s.reason, what + ". Nobody announces its addresses for now: see why its pods are not ready (kubectl get endpointslices, kubectl describe pods). They are announced again by themselves, at once, when one is"
	case s.reason == v1alpha1.ReasonUnschedulable:
		return "NoEligibleNode", what + ". It is placed by itself as soon as a node may announce it"
	case s.reason == placeholder.ReasonConflict:
		return "AddressConflict", what + ". Take the address from that machine or out of the VIPPool"
	default:
		return s.reason, s.message
	}
}

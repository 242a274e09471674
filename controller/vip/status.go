package vip

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// Reasons of a move.
const (
	moveDeleted = "PlaceholderDeleted"
	moveFailed  = "PlaceholderFailed"
)

// nextStatus is the status that the state makes of the VIP's present one. It is pure.
func nextStatus(vip *v1alpha1.VIP, s state, out place.Outcome, now metav1.Time) v1alpha1.VIPStatus {
	next := *vip.Status.DeepCopy()
	next.StandbyNodes = s.standbys
	next.Services = display(vip)
	next.Term = max(next.Term, s.term)
	announced := metav1.ConditionFalse
	if s.node != "" {
		announced = metav1.ConditionTrue
		if from := lastNode(vip, out); from != "" && from != s.node {
			next.LastMove = &v1alpha1.VIPMove{From: from, To: s.node, Reason: moveReason(out), Time: now}
		}
	}
	if next.Node != s.node {
		next.Node, next.Since = s.node, s.since
	}
	meta.SetStatusCondition(&next.Conditions, metav1.Condition{Type: v1alpha1.VIPAnnounced, Status: announced, Reason: s.reason, Message: s.message, LastTransitionTime: now})
	switch {
	case s.conflict != "":
		meta.SetStatusCondition(&next.Conditions, metav1.Condition{Type: v1alpha1.VIPConflict, Status: metav1.ConditionTrue, Reason: placeholder.ReasonConflict, Message: s.conflict, LastTransitionTime: now})
	case meta.FindStatusCondition(next.Conditions, v1alpha1.VIPConflict) != nil: // a condition that never was True isn't shown
		meta.SetStatusCondition(&next.Conditions, metav1.Condition{Type: v1alpha1.VIPConflict, Status: metav1.ConditionFalse, Reason: "NoConflict", Message: "", LastTransitionTime: now})
	}
	return next
}

// lastNode is who announced the VIP last: the status says so, unless it said "nobody" in between; then the placeholder
// remembers.
func lastNode(vip *v1alpha1.VIP, out place.Outcome) string {
	if vip.Status.Node != "" {
		return vip.Status.Node
	}
	if vip.Status.Since == nil && vip.Status.LastMove == nil && meta.FindStatusCondition(vip.Status.Conditions, v1alpha1.VIPAnnounced) == nil {
		return ""
	}
	if out.Live == nil {
		return ""
	}
	peers, err := placeholder.ParsePeers(out.Live.Annotations[placeholder.AnnotationPeers])
	if err != nil || len(peers) == 0 {
		return ""
	}
	if move := vip.Status.LastMove; move != nil && move.To == out.Live.Spec.NodeName && move.From == peers[0].Node {
		return "" // that move is on record
	}
	return peers[0].Node
}

func moveReason(out place.Outcome) string {
	if last := out.Previous(); last != nil && last.Status.Phase == corev1.PodFailed {
		return moveFailed
	}
	return moveDeleted
}

func display(vip *v1alpha1.VIP) string {
	names := make([]string, len(vip.Spec.Services))
	for i, ref := range vip.Spec.Services {
		names[i] = ref.Namespace + "/" + ref.Name
	}
	return strings.Join(names, ",")
}

// report writes the VIP's status and its Service's condition where they change, and tells the Service's owner. It returns
// after how long to look again because nothing was written yet.
func (r *Reconciler) report(ctx context.Context, vip *v1alpha1.VIP, service *corev1.Service, out place.Outcome) (time.Duration, error) {
	s := observe(vip, out)
	if s.node == "" && s.patience > 0 {
		if wait := r.waitFor(vip.Name, s); wait > 0 {
			return wait, nil
		}
	} else {
		r.stopWaiting(vip.Name)
	}
	next := nextStatus(vip, s, out, metav1.NewTime(r.Clock.Now()))
	if !equality.Semantic.DeepEqual(vip.Status, next) {
		if err := r.patchStatus(ctx, vip, next); err != nil {
			return 0, err
		}
		if service != nil {
			r.tell(service, vip, &next, s, out)
		}
	}
	if service == nil {
		return 0, nil
	}
	c := meta.FindStatusCondition(next.Conditions, v1alpha1.VIPAnnounced)
	_, err := r.Statuses.Patch(ctx, service, func(status *corev1.ServiceStatus) {
		serving.SetAnnounced(status, c.Status, c.Reason, c.Message, c.LastTransitionTime)
	})
	return 0, err
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
func (r *Reconciler) tell(service *corev1.Service, vip *v1alpha1.VIP, next *v1alpha1.VIPStatus, s state, out place.Outcome) {
	var related *corev1.Pod
	if related = out.Live; related == nil {
		related = out.Created
	}
	event := serving.Event{Action: "Announce"}
	if related != nil { // a nil pointer in the interface would not be a nil interface
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
		r.Teller.TellOnce(service, "conflict", serving.Event{Warning: true, Reason: "AddressConflict", Action: "Announce", Note: s.conflict, Related: event.Related})
	} else if s.conflict == "" {
		r.Teller.Settle(service.UID, "conflict")
	}
}

// warning names what is wrong and says what to do.
func warning(s state) (reason, note string) {
	what := strings.TrimSuffix(s.message, ".")
	switch {
	case noSlot(s.message):
		return "NoPodSlot", what + ". A VIP takes a pod slot of the node that announces it: raise the kubelets' maxPods, add nodes or delete pods. It is tried again by itself"
	case s.reason == v1alpha1.ReasonUnschedulable:
		return "NoEligibleNode", what + ". It is placed by itself as soon as a node may announce it"
	case s.reason == placeholder.ReasonConflict:
		return "AddressConflict", what + ". Take the address from that machine or out of the VIPPool"
	default:
		return s.reason, s.message
	}
}

package vip

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
)

// maxStandbys is what a pool or a Service may ask for.
const maxStandbys = 2

// wantedStandbys is what the Service asks for, or its pool; one by default. mistake says what the Service asks for that can't be.
func wantedStandbys(s place.Subject) (n int, mistake string) {
	n = 1
	if s.Pool != nil && s.Pool.Spec.Standbys != nil {
		n = int(*s.Pool.Spec.Standbys)
	}
	if s.Service == nil {
		return n, ""
	}
	text, ok := s.Service.Annotations[placeholder.AnnotationStandbys]
	if !ok {
		return n, ""
	}
	asked, err := strconv.Atoi(text)
	if err != nil || asked < 0 || asked > maxStandbys {
		return n, "annotation " + placeholder.AnnotationStandbys + ": " + strconv.Quote(text) + " is not 0, 1 or 2. The pool's number of standbys is used"
	}
	return asked, ""
}

// mistakenHandoff says what the Service asks for that is neither yes nor no.
func mistakenHandoff(s place.Subject) string {
	if s.Service == nil {
		return ""
	}
	switch text, ok := s.Service.Annotations[placeholder.AnnotationHandoff]; {
	case !ok, text == "true", text == "false":
		return ""
	default:
		return "annotation " + placeholder.AnnotationHandoff + ": " + strconv.Quote(text) + ` is neither "true" nor "false". Established connections are handed on`
	}
}

// demandOf is what a VIP asks of a node.
func demandOf(s place.Subject) fleet.Demand {
	needs := place.NeedsOf(s)
	demand := fleet.Demand{Addresses: ledger.Addresses(s.VIP), Tolerations: needs.Tolerations, Nodes: &needs.Nodes}
	if s.Pool != nil {
		demand.Interfaces, demand.Selector = s.Pool.Spec.Interfaces, s.Pool.Spec.NodeSelector
	}
	return demand
}

// Demand is what a VIP asks of a node, by its name; false where there is no such VIP.
func (r *Reconciler) Demand(ctx context.Context, name string) (fleet.Demand, bool) {
	vip := r.Ledger.VIP(name)
	if vip == nil {
		return fleet.Demand{}, false
	}
	pool, err := r.pool(ctx, vip.Spec.Pool)
	if err != nil {
		return fleet.Demand{}, false
	}
	if len(vip.Spec.Services) == 0 {
		return fleet.Demand{}, false
	}
	var service corev1.Service
	ref := vip.Spec.Services[0]
	if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &service); err != nil {
		return fleet.Demand{}, false
	}
	return demandOf(place.Subject{VIP: vip, Service: &service, Pool: pool}), true
}

// view is a VIP as the decisions about it need it.
func (r *Reconciler) view(s place.Subject, places place.Places, now time.Time) (failover.View, time.Duration) {
	nodes := r.Nodes.Fleet(now)
	v := failover.View{Nodes: nodes.For(demandOf(s))}
	v.Wanted, _ = wantedStandbys(s)
	again := nodes.NextChange()
	if left, hold := nodes.Hold(); hold {
		v.Hold = true
		again = sooner(again, left)
	}
	read := func(pod *corev1.Pod) failover.Pod {
		p := podOf(pod, now)
		if p.Node != "" && !p.Reported {
			wait := r.Reports.wait(pod.UID, now)
			p.Overdue = wait <= 0
			if !p.Overdue {
				again = sooner(again, wait)
			}
		}
		return p
	}
	if places.Live != nil {
		live := read(places.Live)
		v.Live = &live
	}
	for _, pod := range places.Surplus {
		v.Surplus = append(v.Surplus, read(pod))
	}
	for _, pod := range places.Standbys {
		v.Standbys = append(v.Standbys, read(pod))
	}
	for _, pod := range places.Ended {
		if pod.DeletionTimestamp != nil && pod.Spec.NodeName != "" {
			v.Ending = append(v.Ending, pod.Spec.NodeName)
		}
	}
	return v, again
}

func podOf(pod *corev1.Pod, now time.Time) failover.Pod {
	ready, announced := placeholder.ConditionOf(pod, placeholder.ConditionReady), placeholder.ConditionOf(pod, placeholder.ConditionAnnounced)
	var superseded time.Duration
	if ready != nil && ready.Status == corev1.ConditionFalse && ready.Reason == placeholder.ReasonSuperseded {
		superseded = max(now.Sub(ready.LastTransitionTime.Time), time.Millisecond)
	}
	return failover.Pod{
		Superseded: superseded,
		Name:       pod.Name, Node: pod.Spec.NodeName, Age: now.Sub(pod.CreationTimestamp.Time),
		Reported:  ready != nil,
		Ready:     ready != nil && ready.Status == corev1.ConditionTrue,
		Announced: announced != nil && announced.Status == corev1.ConditionTrue,
		TookOver:  announced != nil && announced.Reason == placeholder.ReasonTookOver,
		Leaving:   pod.Annotations[placeholder.AnnotationLeaving] == "true",
	}
}

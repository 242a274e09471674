package vip

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
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

// demandOf is what a VIP asks of a node. pool may be nil.
func demandOf(vip *v1alpha1.VIP, pool *v1alpha1.VIPPool) fleet.Demand {
	demand := fleet.Demand{Addresses: ledger.Addresses(vip), Tolerations: place.Tolerations(pool)}
	if pool != nil {
		demand.Interfaces, demand.Selector = pool.Spec.Interfaces, pool.Spec.NodeSelector
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
	return demandOf(vip, pool), true
}

// view is a VIP as the decisions about it need it.
func (r *Reconciler) view(s place.Subject, places place.Places, now time.Time) (failover.View, time.Duration) {
	nodes := r.Nodes.Fleet(now)
	v := failover.View{Nodes: nodes.For(demandOf(s.VIP, s.Pool))}
	v.Wanted, _ = wantedStandbys(s)
	if move := s.VIP.Spec.Move; move != nil {
		v.Wish = &failover.Wish{To: move.To, Why: move.Reason, Age: now.Sub(move.RequestedAt.Time)}
	}
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
		Target:     place.Target(pod),
		Name:       pod.Name, Node: pod.Spec.NodeName, Age: now.Sub(pod.CreationTimestamp.Time),
		Reported:  ready != nil,
		Ready:     ready != nil && ready.Status == corev1.ConditionTrue,
		Announced: announced != nil && announced.Status == corev1.ConditionTrue,
		TookOver:  announced != nil && announced.Reason == placeholder.ReasonTookOver,
		Leaving:   pod.Annotations[placeholder.AnnotationLeaving] == "true",
	}
}

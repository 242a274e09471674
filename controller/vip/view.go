package vip

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
)

// maxStandbys is what a pool or a Service may ask for.
const maxStandbys = 2

// wantedStandbys is what the Service asks for, or its pool; one by default. Of Services that share the VIP the one that wants most
// standbys has its way.
func wantedStandbys(s place.Subject) int {
	n := 1
	if s.Pool != nil && s.Pool.Spec.Standbys != nil {
		n = int(*s.Pool.Spec.Standbys)
	}
	most := -1
	for _, service := range s.Services() {
		asked, _ := askedStandbys(service, n)
		most = max(most, asked)
	}
	if most < 0 {
		return n
	}
	return most
}

// askedStandbys is what one Service asks for, n where that is nothing. mistake says what it asks for that can't be.
func askedStandbys(service *corev1.Service, n int) (asked int, mistake string) {
	text, ok := service.Annotations[placeholder.AnnotationStandbys]
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
func mistakenHandoff(service *corev1.Service) string {
	switch text, ok := service.Annotations[placeholder.AnnotationHandoff]; {
	case !ok, text == "true", text == "false":
		return ""
	default:
		return "annotation " + placeholder.AnnotationHandoff + ": " + strconv.Quote(text) + ` is neither "true" nor "false". Established connections are handed on`
	}
}

// demand is what a VIP asks of a node.
func (r *Reconciler) demand(s place.Subject) fleet.Demand {
	needs := place.NeedsOf(s)
	demand := fleet.Demand{
		Addresses: ledger.Addresses(s.VIP), Tolerations: needs.Tolerations, Nodes: &needs.Nodes, Local: r.local(s.Services()...),
	}
	demand.Particular = needs.Particular || len(demand.Local) > 0
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
	services := r.servicesOf(ctx, vip)
	if len(services) == 0 {
		return fleet.Demand{}, false
	}
	return r.demand(place.Subject{VIP: vip, Service: services[0], Sharers: services[1:], Pool: pool}), true
}

// view is a VIP as the decisions about it need it.
func (r *Reconciler) view(s place.Subject, places place.Places, now time.Time) (failover.View, time.Duration) {
	nodes := r.Nodes.Fleet(now)
	demand := r.demand(s)
	v := failover.View{Nodes: nodes.For(demand), Unserved: !demand.Local.Any(demand.Addresses)}
	v.Wanted = wantedStandbys(s)
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

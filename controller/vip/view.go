package vip

import (
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

// view is a VIP as the decisions about it need it.
func (r *Reconciler) view(s place.Subject, places place.Places, now time.Time) (failover.View, time.Duration) {
	nodes := r.Nodes.Fleet(now)
	demand := fleet.Demand{Addresses: ledger.Addresses(s.VIP), Tolerations: place.Tolerations(s.Pool)}
	if s.Pool != nil {
		demand.Interfaces, demand.Selector = s.Pool.Spec.Interfaces, s.Pool.Spec.NodeSelector
	}
	v := failover.View{Nodes: nodes.For(demand)}
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
	ready, announced := condition(pod, placeholder.ConditionReady), condition(pod, placeholder.ConditionAnnounced)
	return failover.Pod{
		Name: pod.Name, Node: pod.Spec.NodeName, Age: now.Sub(pod.CreationTimestamp.Time),
		Reported:  ready != nil,
		Ready:     ready != nil && ready.Status == corev1.ConditionTrue,
		Announced: announced != nil && announced.Status == corev1.ConditionTrue,
		TookOver:  announced != nil && announced.Reason == placeholder.ReasonTookOver,
		Leaving:   pod.Annotations[placeholder.AnnotationLeaving] == "true",
	}
}

// Package vip keeps each VIP's placeholders, its status and its end in order.
package vip

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
)

// state is what a VIP's placeholders say about it.
type state struct {
	node     string // that announces it, or ""
	since    *metav1.Time
	term     int64
	standbys []string
	reason   string // of the condition Announced
	message  string
	conflict string // what the announcer says about a foreign machine, or ""
	patience time.Duration
}

// How long a VIP may be without an announcement before that is written down and told: longer than a placement and a conflict
// probe take on a busy cluster, so that the usual case costs no request and no false alarm.
const (
	usualPatience = time.Second
	longPatience  = 5 * time.Second // where somebody was just asked and is likely to answer
)

// observe reads the placeholders.
func observe(vip *v1alpha1.VIP, places place.Places, out done) state {
	var s state
	for _, pod := range places.Standbys {
		if c := placeholder.ConditionOf(pod, placeholder.ConditionReady); c != nil && c.Status == corev1.ConditionTrue && pod.Spec.NodeName != "" {
			s.standbys = append(s.standbys, pod.Spec.NodeName)
		}
	}
	main := places.Live
	if main == nil {
		main = out.created
	}
	all := slices.Concat(places.Standbys, places.Surplus, places.Ended)
	if main != nil {
		all = append([]*corev1.Pod{main}, all...)
	}
	addresses := strings.Join(vip.Spec.Addresses, " and ")
	for _, pod := range all {
		if c := placeholder.ConditionOf(pod, placeholder.ConditionReady); s.conflict == "" && c != nil && c.Reason == placeholder.ReasonConflict {
			s.conflict = c.Message
		}
		// The highest term that is announced: while a successor gets ready, that is still the one before it.
		c := placeholder.ConditionOf(pod, placeholder.ConditionAnnounced)
		if c == nil || c.Status != corev1.ConditionTrue || s.node != "" && placeholder.Term(pod) <= s.term {
			continue
		}
		if placeholder.RoleOf(pod) == placeholder.Standby && c.Reason != placeholder.ReasonTookOver {
			continue // what it says of a role that it no longer has
		}
		since := c.LastTransitionTime
		s.node, s.since, s.term = pod.Spec.NodeName, &since, placeholder.Term(pod)
		s.reason, s.message = v1alpha1.ReasonAnnounced, fmt.Sprintf("%s announces %s", pod.Spec.NodeName, addresses)
	}
	if s.node == "" {
		s.unannounced(main, places)
	}
	return s
}

// unannounced says why nobody announces the VIP.
func (s *state) unannounced(main *corev1.Pod, places place.Places) {
	s.patience = usualPatience
	switch {
	case main == nil:
		s.reason, s.message, s.patience = v1alpha1.ReasonNoPlaceholder, "There is no placeholder", longPatience
		if last := places.Previous(); last != nil && last.Status.Phase == corev1.PodFailed {
			s.message = fmt.Sprintf("The placeholder on node %s failed: %s", last.Spec.NodeName, failure(last))
			s.patience = 0
		}
	case main.Spec.NodeName == "":
		s.term = placeholder.Term(main)
		s.reason, s.message, s.patience = v1alpha1.ReasonNotReported, placeholder.SchedulerName+" has not answered yet: is it running?", longPatience
		if c := placeholder.ConditionOf(main, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Message != "" {
			s.reason, s.message, s.patience = v1alpha1.ReasonUnschedulable, c.Message, usualPatience
		}
	default:
		s.term = placeholder.Term(main)
		c := placeholder.ConditionOf(main, placeholder.ConditionReady)
		if c == nil || c.Status == corev1.ConditionTrue {
			s.reason, s.patience = v1alpha1.ReasonNotReported, longPatience
			s.message = fmt.Sprintf("Node %s was chosen, its announcer has not reported yet", main.Spec.NodeName)
			return
		}
		s.reason, s.message = c.Reason, fmt.Sprintf("Node %s: %s", main.Spec.NodeName, c.Message)
		if c.Reason == placeholder.ReasonProbing {
			s.patience = longPatience
		}
	}
}

// serving says of a VIP that nobody announces that nobody serves it, where that is so.
func (s state) serving(v failover.View) state {
	if v.Unserved && s.node == "" {
		s.reason, s.message, s.patience = v1alpha1.ReasonNoEndpoints, noEndpoints, usualPatience
	}
	return s
}

func failure(pod *corev1.Pod) string {
	switch {
	case pod.Status.Reason != "" && pod.Status.Message != "":
		return pod.Status.Reason + ": " + pod.Status.Message
	case pod.Status.Reason+pod.Status.Message != "":
		return pod.Status.Reason + pod.Status.Message
	default:
		return "its kubelet gave no reason"
	}
}

// noSlot says whether a failed or unschedulable placeholder lacks a pod slot: the kubelet's admission (OutOfpods,
// pkg/kubelet/lifecycle/predicate.go) or the scheduler's NodeResourcesFit ("Too many pods").
func noSlot(message string) bool {
	return strings.Contains(message, "OutOfpods") || strings.Contains(message, "Too many pods")
}

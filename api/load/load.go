// Package load is the one definition of a node's load, used by the scheduler to place VIPs and by everything that measures
// or rebalances them.
package load

import (
	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Of returns what a pod adds to the load of its node: the weight of an active placeholder, 0 for any other pod. A pod that is
// being deleted or has ended weighs nothing: its VIP is leaving. A weight that can't be read counts 1, as the scheduler must
// go on placing; the announcer reports the mistake.
func Of(pod *corev1.Pod) int64 {
	if _, ok := pod.Labels[placeholder.LabelVIP]; !ok { // the one map look-up that nearly all pods cost
		return 0
	}
	if !placeholder.Is(pod) || placeholder.Ended(pod) || placeholder.RoleOf(pod) != placeholder.Active {
		return 0
	}
	weight, _ := placeholder.Weight(pod)
	return weight
}

package vipload

import (
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

// Room above the load for the number of a spread group's VIPs on a node; 2^56 is the most that normalize takes. A node's load
// stays far below 2^48: each of its pods weighs 1000 at most.
const (
	groupBits = 48
	groupMost = 1<<(56-groupBits) - 1
)

// crowded is what a node counts for an active placeholder: first how many active placeholders of its spread group are there, then the
// load. So the VIPs of one Service go to different nodes as long as there are any that may announce them, and never wait for one. The
// scheduler's own topology spread can't do that: what it requires counts nodes that have no announcer, what it prefers isn't scored.
func crowded(pod *corev1.Pod, node fwk.NodeInfo, carried int64) int64 {
	group := pod.Labels[placeholder.LabelSpreadGroup]
	if group == "" {
		return carried
	}
	var others int64
	for _, info := range node.GetPods() {
		other := info.GetPod()
		// Another placeholder of the same VIP is one that this one succeeds.
		if other.Labels[placeholder.LabelSpreadGroup] == group && other.Labels[placeholder.LabelVIP] != pod.Labels[placeholder.LabelVIP] && load.Of(other) > 0 {
			others++
		}
	}
	return min(others, groupMost)<<groupBits + min(carried, 1<<groupBits-1)
}

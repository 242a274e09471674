package vipload

import (
	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

// siblings counts the active placeholders of a placeholder's spread group on a node, which come before the load: the VIPs of one
// Service go to different nodes as long as there are any that may announce them, and never wait for one. The scheduler's own topology
// spread can't do that: what it requires counts nodes that have no announcer, what it prefers isn't scored.
func siblings(pod *corev1.Pod, node fwk.NodeInfo) int64 {
	group := pod.Labels[placeholder.LabelSpreadGroup]
	if group == "" {
		return 0
	}
	var others int64
	for _, info := range node.GetPods() {
		other := info.GetPod()
		// Another placeholder of the same VIP is one that this one succeeds.
		if other.Labels[placeholder.LabelSpreadGroup] == group && other.Labels[placeholder.LabelVIP] != pod.Labels[placeholder.LabelVIP] && load.Of(other) > 0 {
			others++
		}
	}
	return others
}

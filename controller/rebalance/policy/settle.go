package policy

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// AbleSince is since when a node has been able to announce VIPs, as far as the API remembers: the latest of metadata.creationTimestamp
// of Node and VIPNode, and of lastTransitionTime of the Node's Ready and the VIPNode's DataPlaneHealthy where these are True. What
// leaves no time behind (the end of a suspicion, a link that is up again, a label or a taint taken off) is only known to who saw it
// happen: seen is when that was, zero where nobody did.
//
// Either object may be nil: then the node isn't able, and the zero time is returned.
func AbleSince(node *corev1.Node, vipNode *v1alpha1.VIPNode, seen time.Time) time.Time {
	if node == nil || vipNode == nil {
		return time.Time{}
	}
	since := seen
	later := func(t time.Time) {
		if t.After(since) {
			since = t
		}
	}
	later(node.CreationTimestamp.Time)
	later(vipNode.CreationTimestamp.Time)
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			later(c.LastTransitionTime.Time)
		}
	}
	if c := meta.FindStatusCondition(vipNode.Status.Conditions, v1alpha1.NodeDataPlaneHealthy); c != nil && c.Status == metav1.ConditionTrue {
		later(c.LastTransitionTime.Time)
	}
	return since
}

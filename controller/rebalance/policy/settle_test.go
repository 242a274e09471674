package policy

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestAbleSince(t *testing.T) {
	ago := func(minutes int) metav1.Time { return metav1.NewTime(noon.Add(-time.Duration(minutes) * time.Minute)) }
	node := func(created, ready metav1.Time, status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: created},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, LastTransitionTime: ready}}},
		}
	}
	vipNode := func(created, healthy metav1.Time, status metav1.ConditionStatus) *v1alpha1.VIPNode {
		return &v1alpha1.VIPNode{
			ObjectMeta: metav1.ObjectMeta{CreationTimestamp: created},
			Status:     v1alpha1.VIPNodeStatus{Conditions: []metav1.Condition{{Type: v1alpha1.NodeDataPlaneHealthy, Status: status, LastTransitionTime: healthy}}},
		}
	}
	tests := []struct {
		name    string
		node    *corev1.Node
		vipNode *v1alpha1.VIPNode
		seen    time.Time
		want    time.Time
	}{
		{"a node that joined", node(ago(3), ago(2), corev1.ConditionTrue), vipNode(ago(1), ago(1), metav1.ConditionTrue), time.Time{}, ago(1).Time},
		{"a node that is back", node(ago(500), ago(2), corev1.ConditionTrue), vipNode(ago(400), ago(400), metav1.ConditionTrue), time.Time{}, ago(2).Time},
		{"its kube-proxy is well again", node(ago(500), ago(499), corev1.ConditionTrue), vipNode(ago(400), ago(4), metav1.ConditionTrue), time.Time{}, ago(4).Time},
		{"what turned False is no beginning", node(ago(500), ago(2), corev1.ConditionFalse), vipNode(ago(400), ago(2), metav1.ConditionFalse), time.Time{}, ago(400).Time},
		{"it was seen to be trusted again", node(ago(500), ago(499), corev1.ConditionTrue), vipNode(ago(400), ago(400), metav1.ConditionTrue), ago(7).Time, ago(7).Time},
		{"no announcer", node(ago(500), ago(499), corev1.ConditionTrue), nil, ago(7).Time, time.Time{}},
		{"no Node", nil, vipNode(ago(400), ago(400), metav1.ConditionTrue), ago(7).Time, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := AbleSince(tt.node, tt.vipNode, tt.seen); !got.Equal(tt.want) {
				t.Errorf("since %s, want %s", got, tt.want)
			}
		})
	}
}

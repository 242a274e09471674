package metrics

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func held(node, role, weight string, phase corev1.PodPhase) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{placeholder.LabelVIP: "x", placeholder.LabelRole: role}, Annotations: map[string]string{placeholder.AnnotationWeight: weight}},
		Spec:       corev1.PodSpec{SchedulerName: placeholder.SchedulerName, NodeName: node}, Status: corev1.PodStatus{Phase: phase},
	}
}

func node(name string, healthy metav1.ConditionStatus) v1alpha1.VIPNode {
	return v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.VIPNodeStatus{Conditions: []metav1.Condition{{Type: v1alpha1.NodeDataPlaneHealthy, Status: healthy}}}}
}

func TestCountAndSpread(t *testing.T) {
	pods := []corev1.Pod{
		held("a", "active", "3", corev1.PodRunning), held("a", "active", "1", corev1.PodRunning), held("a", "standby", "2", corev1.PodRunning),
		held("b", "active", "1", corev1.PodFailed), held("", "active", "1", corev1.PodPending), held("sick", "active", "9", corev1.PodRunning),
	}
	nodes := []v1alpha1.VIPNode{node("a", metav1.ConditionTrue), node("b", metav1.ConditionTrue), node("sick", metav1.ConditionFalse)}
	got := Count(pods, nodes)
	want := map[string]map[placeholder.Role]Held{
		"a":    {placeholder.Active: {2, 4}, placeholder.Standby: {1, 2}},
		"b":    {placeholder.Active: {}, placeholder.Standby: {}},
		"sick": {placeholder.Active: {1, 9}, placeholder.Standby: {}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Spread(got, nodes); got != 4 {
		t.Errorf("spread %d, want 4: the sick node doesn't count", got)
	}
	if got := Spread(nil, nil); got != 0 {
		t.Errorf("spread of nothing: %d", got)
	}
}

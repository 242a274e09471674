package standby

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
)

func TestStandbysAreNotSentWhereLimitsLeaveNoRoom(t *testing.T) {
	pod := func(vip int, role placeholder.Role, node, limit string) corev1.Pod {
		yes := true
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: fmt.Sprintf("192-0-2-%d-%s", vip, role), Labels: map[string]string{placeholder.LabelVIP: fmt.Sprintf("192-0-2-%d", vip), placeholder.LabelRole: string(role)},
				Annotations:     map[string]string{placeholder.AnnotationPool: "office"},
				OwnerReferences: []metav1.OwnerReference{{Kind: "VIP", Controller: &yes}},
			},
			Spec:   corev1.PodSpec{SchedulerName: placeholder.SchedulerName, NodeName: node},
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: placeholder.ConditionReady, Status: corev1.ConditionTrue}}},
		}
		if limit != "" {
			p.Annotations[placeholder.AnnotationMaxVIPsPerNode] = limit
		}
		return p
	}
	const active, standby = placeholder.Active, placeholder.Standby
	cluster := func(limit string) View { // b has one, and would inherit another from a
		return Look([]corev1.Pod{
			pod(1, active, "a", limit), pod(1, standby, "c", limit), pod(2, active, "a", limit), pod(2, standby, "b", limit), pod(3, active, "b", limit), pod(3, standby, "a", limit),
		})
	}
	for _, tt := range []struct {
		name   string
		limit  string
		ofNode int64
		left   bool
	}{
		{name: "no limits", left: true},
		{name: "the pool's leaves one", limit: "3", left: true},
		{name: "the pool's leaves none after the loss", limit: "2"},
		{name: "the node's leaves one", ofNode: 3, left: true},
		{name: "the node's leaves none after the loss", ofNode: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRoom(cluster(tt.limit), func(string) int64 { return tt.ofNode })
			if got := r.left("192-0-2-1", "b"); got != tt.left {
				t.Errorf("got %t, want %t", got, tt.left)
			}
		})
	}
}

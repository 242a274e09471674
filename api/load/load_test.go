package load

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/placeholder"
)

func active() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{placeholder.LabelVIP: "192-0-2-10", placeholder.LabelRole: string(placeholder.Active)},
			Annotations: map[string]string{},
		},
		Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName},
	}
}

func TestOf(t *testing.T) {
	now := metav1.NewTime(time.Unix(0, 0))
	weight := func(text string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations[placeholder.AnnotationWeight] = text }
	}
	tests := map[string]struct {
		change func(*corev1.Pod)
		want   int64
	}{
		"an active of no stated weight":         {func(*corev1.Pod) {}, 1},
		"an active of weight 7":                 {weight("7"), 7},
		"the largest weight":                    {weight("1000"), 1000},
		"a weight too large counts 1":           {weight("1001"), 1},
		"a weight of 0 counts 1":                {weight("0"), 1},
		"a weight that is no number counts 1":   {weight("heavy"), 1},
		"no role label means active":            {func(p *corev1.Pod) { delete(p.Labels, placeholder.LabelRole) }, 1},
		"a standby":                             {func(p *corev1.Pod) { p.Labels[placeholder.LabelRole] = string(placeholder.Standby) }, 0},
		"being deleted":                         {func(p *corev1.Pod) { p.DeletionTimestamp = &now }, 0},
		"failed":                                {func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, 0},
		"succeeded":                             {func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, 0},
		"pending and not yet announced":         {func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, 1},
		"an ordinary pod":                       {func(p *corev1.Pod) { p.Labels = nil }, 0},
		"a pod of another scheduler, our label": {func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" }, 0},
		"a label without a value":               {func(p *corev1.Pod) { p.Labels[placeholder.LabelVIP] = "" }, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := active()
			test.change(pod)
			if got := Of(pod); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

// TestLoadIsBounded: whatever people write, one pod can neither lighten a node nor overflow the sum of many.
func TestLoadIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := active()
		pod.Annotations[placeholder.AnnotationWeight] = rapid.OneOf(rapid.String(), rapid.StringMatching(`-?[0-9]{1,25}`)).Draw(t, "weight")
		pod.Labels[placeholder.LabelRole] = rapid.SampledFrom([]string{"", "active", "standby", "other"}).Draw(t, "role")
		if got := Of(pod); got < 0 || got > placeholder.MaxWeight {
			t.Fatalf("load %d", got)
		}
	})
}

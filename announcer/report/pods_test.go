package report

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/api/placeholder"
)

// patches collects what is written.
func patches(client *fake.Clientset) <-chan []corev1.PodCondition {
	written := make(chan []corev1.PodCondition, 16)
	client.PrependReactor("patch", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		var body struct {
			Status struct {
				Conditions []corev1.PodCondition `json:"conditions"`
			} `json:"status"`
		}
		if err := json.Unmarshal(action.(clienttesting.PatchAction).GetPatch(), &body); err != nil {
			return true, nil, err
		}
		written <- body.Status.Conditions
		return false, nil, nil
	})
	return written
}

func somePod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "evenkeel-system", Name: "192-0-2-10-1", UID: "a"}}
}

func running(t *testing.T, pod *corev1.Pod) (*Pods, <-chan []corev1.PodCondition) {
	client := fake.NewClientset(pod)
	written := patches(client)
	p := NewPods(client.CoreV1(), clock.RealClock{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, written
}

func reasons(conditions []corev1.PodCondition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, string(c.Type)+" "+string(c.Status)+" "+c.Reason)
	}
	return out
}

func TestAStateThatPassesWithinItsDelayIsNeverWritten(t *testing.T) {
	pod := somePod()
	p, written := running(t, pod)
	p.Observe(pod)
	p.Set("a", Condition{Reason: "Probing"}, time.Hour)
	p.Observe(pod) // the kubelet's reports bring the pod by again
	p.Set("a", Condition{Ready: true, Announced: true, Reason: "Announcing"}, 0)
	want := []string{"evenkeel.io/ready True Announcing", "evenkeel.io/announced True Announcing"}
	if diff := cmp.Diff(want, reasons(<-written)); diff != "" {
		t.Errorf("first report (-want +got):\n%s", diff)
	}
}

func TestWhatOthersChangeIsWrittenAgain(t *testing.T) {
	pod := somePod()
	p, written := running(t, pod)
	p.Observe(pod)
	p.Set("a", Condition{Ready: true, Announced: true, Reason: "Announcing"}, 0)
	<-written
	changed := somePod()
	changed.Status.Conditions = []corev1.PodCondition{
		{Type: placeholder.ConditionReady, Status: corev1.ConditionFalse, Reason: "Meddled"},
		{Type: placeholder.ConditionAnnounced, Status: corev1.ConditionTrue, Reason: "Announcing"},
	}
	p.Observe(changed)
	want := []string{"evenkeel.io/ready True Announcing"}
	if diff := cmp.Diff(want, reasons(<-written)); diff != "" {
		t.Errorf("second report (-want +got):\n%s", diff)
	}
}

func TestAPodThatWasNeverSeenIsNotReportedOn(t *testing.T) {
	p := NewPods(fake.NewClientset().CoreV1(), clock.RealClock{})
	p.Set("unknown", Condition{Ready: true}, 0)
	if n := p.queue.Len(); n != 0 {
		t.Errorf("%d reports are queued, want none", n)
	}
}

func TestTransitionTimesChangeOnlyWithTheStatus(t *testing.T) {
	then := metav1.NewTime(time.Unix(1000, 0))
	report := podReport{
		want: Condition{Reason: "Conflict", Message: "new"},
		known: map[corev1.PodConditionType]corev1.PodCondition{
			placeholder.ConditionReady:     {Type: placeholder.ConditionReady, Status: corev1.ConditionFalse, Reason: "Probing", LastTransitionTime: then},
			placeholder.ConditionAnnounced: {Type: placeholder.ConditionAnnounced, Status: corev1.ConditionTrue, Reason: "Announcing", LastTransitionTime: then},
		},
	}
	now := time.Unix(2000, 0)
	for _, c := range report.patch(now) {
		want := then
		if c.Type == placeholder.ConditionAnnounced {
			want = metav1.NewTime(now)
		}
		if !c.LastTransitionTime.Equal(&want) {
			t.Errorf("%s: transition time = %v, want %v", c.Type, c.LastTransitionTime, want)
		}
	}
}

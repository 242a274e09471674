package vip

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/placeholder"
)

func drawGuests(t *rapid.T) []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range rapid.IntRange(0, 8).Draw(t, "pods") {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", i), Labels: map[string]string{placeholder.LabelVIP: "192-0-2-200"}, Annotations: map[string]string{},
				CreationTimestamp: metav1.NewTime(time.Unix(rapid.Int64Range(0, 4).Draw(t, "made"), 0))},
			Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName, NodeName: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "node")},
		}
		if rapid.Bool().Draw(t, "standby") {
			pod.Labels[placeholder.LabelRole] = string(placeholder.Standby)
		}
		if rapid.Bool().Draw(t, "failed") {
			pod.Status.Phase = corev1.PodFailed
		}
		if rapid.Bool().Draw(t, "told") {
			pod.Annotations[placeholder.AnnotationTerm] = strconv.Itoa(rapid.IntRange(0, 5).Draw(t, "term"))
		}
		pods = append(pods, pod)
	}
	return pods
}

// Whatever people write, one active counts, and after it was told its term nobody else has a claim as good.
func TestPropertyOneHandWrittenPlaceholderOwnsTheVIP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pods := drawGuests(t)
		g := sortGuests(pods)
		bound := func(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" }
		actives := slices.DeleteFunc(slices.Clone(pods), func(pod *corev1.Pod) bool {
			return placeholder.RoleOf(pod) == placeholder.Standby || placeholder.Ended(pod)
		})
		if (g.live == nil) != (len(actives) == 0) {
			t.Fatalf("live %v of %d actives", g.live, len(actives))
		}
		if g.live == nil {
			return
		}
		for _, pod := range actives {
			if bound(pod) && !bound(g.live) {
				t.Fatalf("%s has a node, and %s counts", pod.Name, g.live.Name)
			}
			if bound(pod) == bound(g.live) && pod.CreationTimestamp.After(g.live.CreationTimestamp.Time) {
				t.Fatalf("%s is younger, and %s counts", pod.Name, g.live.Name)
			}
		}
		if got := len(g.coming) + len(g.others) + 1; got != len(actives) {
			t.Fatalf("%d of %d actives are accounted for", got, len(actives))
		}
		term := g.liveTerm(false)
		for _, pod := range slices.Concat(g.others, g.ended) {
			if placeholder.Term(pod) >= term {
				t.Fatalf("%s has term %d, the live one %d", pod.Name, placeholder.Term(pod), term)
			}
		}
		for _, pod := range g.standbys {
			if placeholder.Term(pod) > term {
				t.Fatalf("standby %s has term %d, the live one %d", pod.Name, placeholder.Term(pod), term)
			}
		}
		// Told once, it stays so.
		g.live.Annotations[placeholder.AnnotationTerm] = strconv.FormatInt(term, 10)
		if again := sortGuests(pods); again.live == g.live && again.liveTerm(false) != term {
			t.Fatalf("term %d, and a moment later %d", term, again.liveTerm(false))
		}
	})
}

func TestGuardsWanted(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "1": 1, "2": 2, "3": 0, "-1": 0, "one": 0, "": 0} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{placeholder.AnnotationStandbys: text}}}
		n, mistake := guardsWanted(pod)
		if n != want || (mistake == "") != slices.Contains([]string{"0", "1", "2"}, text) {
			t.Errorf("%q: %d, %q", text, n, mistake)
		}
	}
	if n, mistake := guardsWanted(&corev1.Pod{}); n != 0 || mistake != "" {
		t.Errorf("without the annotation: %d, %q", n, mistake)
	}
}

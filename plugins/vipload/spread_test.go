package vipload

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

// TestAGroupIsSpreadBeforeTheLoadCounts: no two VIPs of a group share a node as long as there is one without, and of the nodes with
// fewest of the group the least loaded is taken.
func TestAGroupIsSpreadBeforeTheLoadCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pl := newMeasuring(load.DefaultCriteria()...)
		count := rapid.IntRange(1, 6).Draw(t, "nodes")
		pods := make([][]*corev1.Pod, count)
		loads, members := make([]int64, count), make([]int, count)
		for n := range rapid.IntRange(0, 20).Draw(t, "others") {
			i := rapid.IntRange(0, count-1).Draw(t, "node")
			weight := rapid.Int64Range(1, placeholder.MaxWeight).Draw(t, "weight")
			pods[i] = append(pods[i], vipPod(fmt.Sprintf("other-%d", n), fmt.Sprintf("192.0.2.%d", n+1)).
				Annotation(placeholder.AnnotationWeight, fmt.Sprint(weight)).Node(fmt.Sprint(i)).Obj())
			loads[i] += weight
		}
		for n := range rapid.IntRange(1, 16).Draw(t, "group") {
			nodes := make([]fwk.NodeInfo, count)
			for i := range nodes {
				nodes[i] = nodeInfo(st.MakeNode().Name(fmt.Sprint(i)).Obj(), pods[i]...)
			}
			pod := vipPod(fmt.Sprintf("member-%d", n), fmt.Sprintf("192.0.2.%d", n+101)).Label(placeholder.LabelSpreadGroup, "g").Obj()
			at := choose(t.Context(), t, pl, pod, nodes)
			for i := range nodes {
				if members[i] < members[at] || members[i] == members[at] && loads[i] < loads[at] {
					t.Fatalf("node %d (%d of the group, load %d) was taken and not node %d (%d, %d)", at, members[at], loads[at], i, members[i], loads[i])
				}
			}
			pod.Spec.NodeName = fmt.Sprint(at)
			pods[at] = append(pods[at], pod)
			loads[at]++
			members[at]++
		}
	})
}

func TestWhatDoesNotCountAsOneOfTheGroup(t *testing.T) {
	member := func(change func(*st.PodWrapper) *st.PodWrapper) *corev1.Pod {
		return change(vipPod("m", "192.0.2.10").Label(placeholder.LabelSpreadGroup, "g").Node("n")).Obj()
	}
	tests := []struct {
		name string
		pod  *corev1.Pod
		want int64
	}{
		{"another VIP of it", member(func(w *st.PodWrapper) *st.PodWrapper { return w }), 1},
		{"a standby", member(func(w *st.PodWrapper) *st.PodWrapper { return w.Label(placeholder.LabelRole, "standby") }), 0},
		{"one that leaves", member(func(w *st.PodWrapper) *st.PodWrapper { return w.Terminating() }), 0},
		{"one of another group", member(func(w *st.PodWrapper) *st.PodWrapper { return w.Label(placeholder.LabelSpreadGroup, "h") }), 0},
		{"the VIP itself", member(func(w *st.PodWrapper) *st.PodWrapper { return w.Label(placeholder.LabelVIP, "192-0-2-99") }), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := vipPod("p", "192.0.2.99").Label(placeholder.LabelSpreadGroup, "g").Obj()
			if got := siblings(pod, nodeInfo(st.MakeNode().Name("n").Obj(), tt.pod)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

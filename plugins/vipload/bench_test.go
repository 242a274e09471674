package vipload

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"evenkeel.io/evenkeel/api/eligible"
)

// BenchmarkCycle is the plugin's part of one scheduling cycle, serially, in a cluster of 1000 nodes with 100 pods each, 10
// of them placeholders, where one node has changed since the last cycle.
func BenchmarkCycle(b *testing.B) {
	const nodeCount, podCount = 1000, 100
	var nodes []*corev1.Node
	var pods []*corev1.Pod
	pl := newTestPlugin(b)
	for n := range nodeCount {
		name := fmt.Sprintf("node-%d", n)
		nodes = append(nodes, st.MakeNode().Name(name).Label("kubernetes.io/hostname", name).Obj())
		pl.nodes.set(name, eligible.FactsOf(vipNode(name, alive("eth0", "10.0.0.1/8", "fd00::1/64"), alive("eth1", "192.0.2.1/24"))))
		for p := range podCount {
			pod := st.MakePod().Name(fmt.Sprintf("pod-%d-%d", n, p)).Label("app", "web").Node(name)
			if p < 10 {
				pod = vipPod(fmt.Sprintf("vip-%d-%d", n, p), fmt.Sprintf("10.%d.%d.%d", p, n/250, n%250+1)).Node(name)
			}
			pods = append(pods, pod.UID(fmt.Sprintf("%d-%d", n, p)).Obj())
		}
	}
	infos, err := cache.NewSnapshot(pods, nodes).NodeInfos().List()
	if err != nil {
		b.Fatal(err)
	}
	pod := vipPod("p", "10.200.0.1").Obj()
	extra := vipPod("extra", "10.201.0.1").Obj()
	cycle := func(i int) {
		changed := infos[i%nodeCount].(*framework.NodeInfo)
		changed.AddPod(extra)
		state := framework.NewCycleState()
		if _, status := pl.PreFilter(b.Context(), state, pod, infos); !status.IsSuccess() {
			b.Fatal(status)
		}
		for _, info := range infos {
			if status := pl.Filter(b.Context(), state, pod, info); !status.IsSuccess() {
				b.Fatal(status)
			}
		}
		pl.PreScore(b.Context(), state, pod, infos)
		scores := make(fwk.NodeScoreList, len(infos))
		for j, info := range infos {
			score, _ := pl.Score(b.Context(), state, pod, info)
			scores[j] = fwk.NodeScore{Name: info.Node().Name, Score: score}
		}
		pl.NormalizeScore(b.Context(), state, pod, scores)
		if err := changed.RemovePod(klogger, extra); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("memo", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			cycle(i)
		}
	})
	b.Run("full recount", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			pl.tally = newTally()
			cycle(i)
		}
	})
}

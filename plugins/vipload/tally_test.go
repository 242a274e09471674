package vipload

import (
	"fmt"
	"testing"

	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/load"
)

func TestTallyFollowsEveryChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		memo := newTally()
		node := framework.NewNodeInfo()
		node.SetNode(st.MakeNode().Name("n").Obj())
		bound := map[int]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			i := rapid.IntRange(0, 9).Draw(t, "vip")
			pod := vipPod(fmt.Sprintf("p%d", i), fmt.Sprintf("192.0.2.%d", i+1)).Node("n").Obj()
			if bound[i] {
				if err := node.RemovePod(klogger, pod); err != nil {
					t.Fatal(err)
				}
			} else {
				node.AddPod(pod)
			}
			bound[i] = !bound[i]
			// Twice: the second answer is the remembered one.
			for range 2 {
				got, want := memo.of(node, true), count(node)
				if got.Load != want.Load || len(got.VIPs) != len(want.VIPs) {
					t.Fatalf("remembered %+v, counted %+v", got, want)
				}
			}
		}
	})
}

func TestTallyAnswersFromTheMemoOnlyWhereGenerationsMeanSomething(t *testing.T) {
	memo := newTally()
	node := nodeInfo(st.MakeNode().Name("n").Obj(), vipPod("p", "192.0.2.10").Node("n").Obj())
	memo.of(node, true)
	// What a pod-group cycle does: other pods under the same generation.
	memo.nodes["n"] = counted{node.GetGeneration(), load.Node{Load: 77}}
	if got := memo.of(node, true).Load; got != 77 {
		t.Errorf("got %d: the memo is not used for an unchanged generation", got)
	}
	if got := memo.of(node, false).Load; got != 1 {
		t.Errorf("got %d: the memo is used although it must not be", got)
	}
}

// The same seen through the plugin: in a pod-group cycle Filter and Score go by the pods that are there.
func TestPodGroupCyclesBypassTheMemo(t *testing.T) {
	pl, pod := newTestPlugin(t), vipPod("p", "192.0.2.10").Obj()
	pl.nodes.set("n", eligible.FactsOf(vipNode("n", alive("eth0", "192.0.2.101/24"))))
	node := nodeInfo(st.MakeNode().Name("n").Obj())
	pl.tally.nodes["n"] = counted{node.GetGeneration(), load.Node{Load: 77, VIPs: map[string]load.Held{"192-0-2-10": {}}}}

	for name, tt := range map[string]struct {
		group  bool
		rank   int64 // beside a node with one VIP
		passes bool
	}{
		"the memo's answer in the cycle of one pod": {group: false, rank: 1, passes: false},
		"the pods' answer in a pod group's cycle":   {group: true, rank: 0, passes: true},
	} {
		t.Run(name, func(t *testing.T) {
			state := framework.NewCycleState()
			if tt.group {
				state.SetPodGroupSchedulingCycle(framework.NewCycleState())
			}
			if _, status := pl.PreFilter(t.Context(), state, pod, []fwk.NodeInfo{node}); !status.IsSuccess() {
				t.Fatal(status)
			}
			if status := pl.Filter(t.Context(), state, pod, node); status.IsSuccess() != tt.passes {
				t.Errorf("Filter: %v", status)
			}
			other := nodeInfo(st.MakeNode().Name("m").Obj(), vipPod("q", "192.0.2.11").Node("m").Obj())
			if status := pl.PreScore(t.Context(), state, pod, []fwk.NodeInfo{node, other}); !status.IsSuccess() {
				t.Fatal(status)
			}
			if rank, status := pl.Score(t.Context(), state, pod, node); rank != tt.rank || !status.IsSuccess() {
				t.Errorf("rank %d (%v), want %d", rank, status, tt.rank)
			}
		})
	}
}

func TestTallyForgetsNodesThatAreGone(t *testing.T) {
	memo := newTally()
	var nodes []fwk.NodeInfo
	for i := range 3 {
		nodes = append(nodes, nodeInfo(st.MakeNode().Name(fmt.Sprintf("n%d", i)).Obj()))
		memo.of(nodes[i], true)
	}
	memo.prune(nodes)
	if len(memo.nodes) != 3 {
		t.Errorf("%d nodes remembered, none was gone", len(memo.nodes))
	}
	memo.prune(nodes[:1])
	if _, ok := memo.nodes["n0"]; len(memo.nodes) != 1 || !ok {
		t.Errorf("remembered %v, want n0 only", memo.nodes)
	}
}

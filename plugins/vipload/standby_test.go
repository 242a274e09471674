package vipload

import (
	"context"
	"fmt"
	"slices"
	"testing"

	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

func standbyPod(name, address string) *st.PodWrapper {
	return vipPod(name, address).Label(placeholder.LabelRole, string(placeholder.Standby))
}

func TestAStandbyWaitsForItsActive(t *testing.T) {
	pl := newTestPlugin(t)
	nodes := []fwk.NodeInfo{nodeInfo(st.MakeNode().Name("a").Obj(), vipPod("other", "192.0.2.11").Node("a").Obj())}
	if _, status := pl.PreFilter(t.Context(), framework.NewCycleState(), standbyPod("s", "192.0.2.10").Obj(), nodes); status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Errorf("got %v, want a refusal until the active has a node", status)
	}
	nodes = append(nodes, nodeInfo(st.MakeNode().Name("b").Obj(), vipPod("active", "192.0.2.10").Node("b").Obj()))
	if _, status := pl.PreFilter(t.Context(), framework.NewCycleState(), standbyPod("s", "192.0.2.10").Obj(), nodes); !status.IsSuccess() {
		t.Errorf("got %v though the active is on b", status)
	}
}

func TestSuspectNodesAreRefused(t *testing.T) {
	pl := newTestPlugin(t)
	node := nodeInfo(st.MakeNode().Name("n").Obj())
	facts := eligible.FactsOf(vipNode("n", alive("eth0", "192.0.2.101/24")))
	facts.Suspect = true
	pl.nodes.set("n", facts)
	state, pod := framework.NewCycleState(), vipPod("p", "192.0.2.10").Obj()
	if _, status := pl.PreFilter(t.Context(), state, pod, []fwk.NodeInfo{node}); !status.IsSuccess() {
		t.Fatal(status)
	}
	if status := pl.Filter(t.Context(), state, pod, node); status.Code() != fwk.UnschedulableAndUnresolvable {
		t.Errorf("got %v, want a refusal", status)
	}
}

// place runs the cycle of one pod as the framework does and binds it; it returns the node's index.
func place(ctx context.Context, t *rapid.T, pl *VIPLoad, pod *st.PodWrapper, nodes []fwk.NodeInfo) int {
	state, obj := framework.NewCycleState(), pod.Obj()
	if _, status := pl.PreFilter(ctx, state, obj, nodes); !status.IsSuccess() {
		t.Fatalf("PreFilter: %v", status)
	}
	var feasible []fwk.NodeInfo
	for _, node := range nodes {
		if pl.Filter(ctx, state, obj, node).IsSuccess() {
			feasible = append(feasible, node)
		}
	}
	best := 0
	if len(feasible) > 1 {
		if status := pl.PreScore(ctx, state, obj, feasible); !status.IsSuccess() {
			t.Fatalf("PreScore: %v", status)
		}
		scores := make(fwk.NodeScoreList, len(feasible))
		for i, node := range feasible {
			score, status := pl.Score(ctx, state, obj, node)
			if !status.IsSuccess() {
				t.Fatalf("Score: %v", status)
			}
			scores[i] = fwk.NodeScore{Name: node.Node().Name, Score: score}
		}
		pl.ScoreExtensions().NormalizeScore(ctx, state, obj, scores)
		best = slices.IndexFunc(scores, func(s fwk.NodeScore) bool { return s.Score == fwk.MaxScore })
	}
	chosen := slices.Index(nodes, feasible[best])
	nodes[chosen].(*framework.NodeInfo).AddPod(pod.Node(nodes[chosen].Node().Name).Obj())
	return chosen
}

// Promise 1 for the loss of any single node: the loads of the others differ by at most one after creations alone, when each VIP
// has one standby.
func TestAfterTheLossOfAnyNodeTheOthersAreEven(t *testing.T) {
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		pl := &VIPLoad{nodes: newNodeStore(), endpoints: noEndpoints(), tally: newTally()}
		var nodes []fwk.NodeInfo
		for i := range rapid.IntRange(2, 7).Draw(t, "nodes") {
			name := fmt.Sprintf("node-%d", i)
			nodes = append(nodes, nodeInfo(st.MakeNode().Name(name).Obj()))
			pl.nodes.set(name, eligible.FactsOf(vipNode(name, alive("eth0", fmt.Sprintf("192.0.2.%d/24", 200+i)))))
		}
		vips := rapid.IntRange(1, 60).Draw(t, "vips")
		for i := range vips {
			address := fmt.Sprintf("192.0.2.%d", i+1)
			place(ctx, t, pl, vipPod(fmt.Sprintf("a%d", i), address), nodes)
		}
		for i := range vips {
			address := fmt.Sprintf("192.0.2.%d", i+1)
			place(ctx, t, pl, standbyPod(fmt.Sprintf("s%d", i), address), nodes)
		}
		_, counts := pl.count("", nodes, false)
		for lost := range counts {
			var loads []int64
			for _, a := range load.AfterLoss(lost, counts) {
				loads = append(loads, a.Load)
			}
			if spread := slices.Max(loads) - slices.Min(loads); spread > 1 {
				t.Fatalf("after the loss of %s the others have %v", lost, loads)
			}
		}
	})
}

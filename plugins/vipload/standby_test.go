package vipload

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
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

// Promise 1 for the loss of any single node: after creations alone, when each VIP has one standby, none of the others carries more for its
// capacity than any other would with the largest VIP on top. With equal weights and capacities: their loads differ by at most one.
func TestAfterTheLossOfAnyNodeTheOthersAreEven(t *testing.T) {
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		pl := newMeasuring(load.DefaultCriteria()...)
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

// A standby goes where the node would be least loaded for its capacity after the loss; limits count what it would hold then.
func TestStandbysGoByCapacityAndLimitsAfterTheLoss(t *testing.T) {
	const lan = "192.0.2.101/24"
	setUp := func(annotate map[string]map[string]string) (*VIPLoad, []fwk.NodeInfo) {
		pl := newTestPlugin(t)
		on := map[string][]*corev1.Pod{ // a is full of what b and c guard
			"a": {vipPod("v", "192.0.2.10").Node("a").Obj(), vipPod("w", "192.0.2.11").Node("a").Obj(), vipPod("x", "192.0.2.12").Node("a").Obj()},
			"b": {standbyPod("w-s", "192.0.2.11").Node("b").Obj(), vipPod("y", "192.0.2.13").Node("b").Obj()},
			"c": {standbyPod("x-s", "192.0.2.12").Node("c").Obj()},
		}
		var nodes []fwk.NodeInfo
		for _, name := range []string{"a", "b", "c"} {
			pl.nodes.set(name, eligible.FactsOf(vipNode(name, alive("eth0", lan))))
			node := st.MakeNode().Name(name).Obj()
			node.Annotations = annotate[name]
			nodes = append(nodes, nodeInfo(node, on[name]...))
		}
		return pl, nodes
	}
	tests := []struct {
		name     string
		annotate map[string]map[string]string
		refused  string
		want     string
	}{
		{name: "the emptier node", want: "c"},
		{name: "the larger node", annotate: map[string]map[string]string{"b": {placeholder.AnnotationCapacity: "3"}}, want: "b"},
		{name: "the emptier node has room for what it would inherit alone", annotate: map[string]map[string]string{"c": {placeholder.AnnotationMaxVIPs: "1"}}, refused: "c", want: "b"},
		{name: "and for one more", annotate: map[string]map[string]string{"c": {placeholder.AnnotationMaxVIPs: "2"}}, want: "c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pl, nodes := setUp(tt.annotate)
			state, pod := framework.NewCycleState(), standbyPod("v-s", "192.0.2.10").Obj()
			if _, status := pl.PreFilter(t.Context(), state, pod, nodes); !status.IsSuccess() {
				t.Fatal(status)
			}
			var feasible []fwk.NodeInfo
			for _, node := range nodes {
				status := pl.Filter(t.Context(), state, pod, node)
				if status.IsSuccess() {
					feasible = append(feasible, node)
				} else if name := node.Node().Name; name != "a" && name != tt.refused {
					t.Fatalf("%s refused: %v", name, status)
				}
			}
			if status := pl.PreScore(t.Context(), state, pod, feasible); !status.IsSuccess() {
				t.Fatal(status)
			}
			for _, node := range feasible {
				rank, _ := pl.Score(t.Context(), state, pod, node)
				if (rank == 0) != (node.Node().Name == tt.want) {
					t.Errorf("%s has rank %d", node.Node().Name, rank)
				}
			}
		})
	}
}

package survey

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// BenchmarkOf surveys 5,000 VIPs, each with a standby, on 1,000 nodes: all even, and with 100 nodes that have joined.
func BenchmarkOf(b *testing.B) {
	for _, c := range []struct {
		name string
		used int
	}{{"even", 1000}, {"100 nodes have joined", 900}} {
		b.Run(c.name, func(b *testing.B) {
			w := &town{now: noon, never: map[string]bool{}}
			w.pool("main", nil)
			for i := range 1000 {
				name := w.join(24 * time.Hour)
				w.vipNodes[i].Status.Interfaces[0].Addresses = []string{fmt.Sprintf("10.0.%d.%d/16", 100+i/250, i%250+1)}
				w.nodes[i].Name = name
			}
			for i := range 5000 {
				w.vip("main", w.nodes[i%c.used].Name, w.nodes[(i+1)%c.used].Name)
			}
			cluster := w.cluster()
			cluster.Nodes = fleet.Of(w.vipNodes, w.nodes, fleet.Options{}, w.now)
			b.ReportAllocs()
			for b.Loop() {
				out := Of(cluster)
				if (len(out.Begin) > 0) != (c.used < 1000) {
					b.Fatalf("%d moves begin", len(out.Begin))
				}
			}
		})
	}
}

func TestAPlaceholderThatTookOverIsLeftToFailover(t *testing.T) {
	w := aTown(2, 0)
	for i := range w.pods {
		placeholder.ConditionOf(&w.pods[i], placeholder.ConditionAnnounced).Reason = placeholder.ReasonTookOver
	}
	if out := w.look(); len(out.Moves) > 0 || reasons(t, out.Held)[UnderWay] != 2 {
		t.Errorf("%v, %v", out.Moves, out.Held)
	}
	for i := range w.pods {
		c := placeholder.ConditionOf(&w.pods[i], placeholder.ConditionAnnounced)
		c.Reason, c.Status = placeholder.ReasonProbing, corev1.ConditionFalse
	}
	if out := w.look(); len(out.Moves) > 0 {
		t.Errorf("%v", out.Moves)
	}
}

func TestAMassFailureHoldsEverything(t *testing.T) {
	w := aTown(6, 0, 0)
	for i := 1; i < 3; i++ {
		w.suspect(i)
	}
	w.join(24 * time.Hour) // an empty node that nobody suspects
	if out := w.look(); len(out.Begin) != 1 {
		t.Errorf("2 of 4 are silent, which may be the nodes: %v %+v", out.Begin, out.Pools)
	}
	w.suspect(0)
	out := w.look()
	if len(out.Begin) > 0 || reasons(t, out.Held)[policy.MassFailure] != 1 || out.Again.IsZero() {
		t.Errorf("3 of 4 are silent: %v %v", out.Begin, out.Held)
	}
}

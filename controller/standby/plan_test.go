package standby

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// cluster is actives and standbys by VIP.
type cluster struct {
	nodes  []string
	active map[string]string
	guard  map[string]string
	weight map[string]int64
	// capacity of nodes; those that aren't in it have 1.
	capacity map[string]int64
}

func (c cluster) state(most int) State {
	s := State{Nodes: map[string]load.Node{}, Most: most, Measure: load.MeasureOf(load.DefaultCriteria()),
		Movable: func(string) bool { return true }, Allowed: func(string, string) bool { return true }}
	for _, n := range c.nodes {
		s.Nodes[n] = load.Node{VIPs: map[string]load.Held{}, Capacity: c.capacity[n]}
	}
	for vip, n := range c.active {
		node := s.Nodes[n]
		node.Load += c.weight[vip]
		node.VIPs[vip] = load.Held{Weight: c.weight[vip]}
		s.Nodes[n] = node
		if c.guard[vip] != "" {
			s.Nodes[c.guard[vip]].VIPs[vip] = load.Held{Standby: true, Weight: c.weight[vip]}
		}
	}
	return s
}

// move plays the scheduler: the standby goes where the load after the loss is lowest.
func (c cluster) move(m Move) {
	s := c.state(0)
	active := c.active[m.VIP]
	leaving := s.Nodes[m.From].VIPs[m.VIP]
	leaving.Leaving = true
	s.Nodes[m.From].VIPs[m.VIP] = leaving
	best := ""
	var least load.Figures
	for n, figures := range s.Reading.AfterLoss(active, s.Nodes, load.AfterLoss(active, s.Nodes)) {
		with := figures.With(c.weight[m.VIP], 0)
		if d := s.Measure.Compare(with, least); n != m.From && (best == "" || d < 0 || d == 0 && n < best) {
			best, least = n, with
		}
	}
	c.guard[m.VIP] = best
}

// even says whether after the loss of any node none of the others carries more for its capacity than any other would with the largest VIP.
func (c cluster) even() error {
	s := c.state(0)
	var largest int64
	for _, w := range c.weight {
		largest = max(largest, w)
	}
	for _, lost := range c.nodes {
		after := load.AfterLoss(lost, s.Nodes)
		for a := range after {
			for b := range after {
				if after[a].Load*max(1, c.capacity[b]) > (after[b].Load+largest)*max(1, c.capacity[a]) {
					return fmt.Errorf("after the loss of %s: %s has %d of %d beside %s with %d of %d, the largest weight is %d",
						lost, a, after[a].Load, c.capacity[a], b, after[b].Load, c.capacity[b], largest)
				}
			}
		}
	}
	return nil
}

func (c cluster) spread() int64 {
	s := c.state(0)
	var worst int64
	for _, lost := range c.nodes {
		var loads []int64
		for _, a := range load.AfterLoss(lost, s.Nodes) {
			loads = append(loads, a.Load)
		}
		worst = max(worst, slices.Max(loads)-slices.Min(loads))
	}
	return worst
}

func aCluster(nodes int) cluster {
	c := cluster{active: map[string]string{}, guard: map[string]string{}, weight: map[string]int64{}, capacity: map[string]int64{}}
	for i := range nodes {
		c.nodes = append(c.nodes, fmt.Sprintf("node-%d", i+1))
	}
	return c
}

func TestAReturnedNodeGetsItsShareOfStandbys(t *testing.T) {
	c := aCluster(3) // node-3 was away: everything is active on the two others, which stand by for each other
	for i := range 30 {
		vip := fmt.Sprintf("v%02d", i)
		c.active[vip], c.guard[vip], c.weight[vip] = c.nodes[i%2], c.nodes[1-i%2], 1
	}
	rounds := 0
	for moves := Plan(c.state(8)); len(moves) > 0; moves = Plan(c.state(8)) {
		if len(moves) > 8 {
			t.Fatalf("%d moves at once", len(moves))
		}
		for _, m := range moves {
			c.move(m)
		}
		if rounds++; rounds > 10 {
			t.Fatal("it doesn't come to an end")
		}
	}
	if got := c.spread(); got > 1 {
		t.Errorf("after the loss of a node the others differ by %d", got)
	}
}

func TestNothingMovesWhereNothingIsToBeGained(t *testing.T) {
	c := aCluster(3)
	for i := range 30 {
		vip := fmt.Sprintf("v%02d", i)
		c.active[vip], c.guard[vip], c.weight[vip] = c.nodes[i%3], c.nodes[(i%3+1+i/3%2)%3], 1
	}
	if moves := Plan(c.state(8)); len(moves) > 0 {
		t.Errorf("planned %v", moves)
	}
	two := aCluster(2) // there is nowhere to go
	two.active["v"], two.guard["v"], two.weight["v"] = "node-1", "node-2", 1
	two.active["w"], two.guard["w"], two.weight["w"] = "node-1", "node-2", 1
	if moves := Plan(two.state(8)); len(moves) > 0 {
		t.Errorf("planned %v", moves)
	}
}

func TestWhatIsUnderWayIsWaitedFor(t *testing.T) {
	c := aCluster(3)
	for i := range 9 {
		vip := fmt.Sprintf("v%d", i)
		c.active[vip], c.guard[vip], c.weight[vip] = "node-1", "node-2", 1
	}
	s := c.state(8)
	leaving := s.Nodes["node-2"].VIPs["v0"]
	leaving.Leaving = true
	s.Nodes["node-2"].VIPs["v0"] = leaving
	if moves := Plan(s); len(moves) > 0 {
		t.Errorf("planned %v beside one under way", moves)
	}
	s = c.state(8)
	s.Movable = func(vip string) bool { return vip == "v3" }
	if moves := Plan(s); len(moves) != 1 || moves[0] != (Move{"v3", "node-2"}) {
		t.Errorf("planned %v, want the only movable one", moves)
	}
	s = c.state(8)
	s.Allowed = func(_, node string) bool { return node != "node-3" }
	if moves := Plan(s); len(moves) > 0 {
		t.Errorf("planned %v to where they may not be", moves)
	}
}

// Whatever is active where, moves of standbys alone make the others differ by no more than they can: with equal weights, by
// at most one more than the actives' own loads force.
func TestPropertyPlansEndAndNeverMakeItWorse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := aCluster(rapid.IntRange(3, 6).Draw(t, "nodes"))
		heaviest := rapid.SampledFrom([]int64{1, 1, 5, 100}).Draw(t, "heaviest")
		for i := range rapid.IntRange(0, 40).Draw(t, "vips") {
			vip := fmt.Sprintf("v%02d", i)
			c.active[vip] = rapid.SampledFrom(c.nodes).Draw(t, "active")
			c.guard[vip] = rapid.SampledFrom(slices.DeleteFunc(slices.Clone(c.nodes), func(n string) bool { return n == c.active[vip] })).Draw(t, "guard")
			c.weight[vip] = rapid.Int64Range(1, heaviest).Draw(t, "weight")
		}
		most := rapid.IntRange(1, 8).Draw(t, "most")
		before := c.spread()
		for rounds := 0; ; rounds++ {
			moves := Plan(c.state(most))
			if len(moves) == 0 {
				break
			}
			for _, m := range moves {
				c.move(m)
			}
			if rounds > 200 {
				t.Fatal("it doesn't come to an end")
			}
		}
		if got := c.spread(); got > max(before, heaviest) {
			t.Fatalf("the difference grew from %d to %d", before, got)
		}
	})
}

// Promise 1: whichever node is lost, what is left is even by weight and capacity, once the standbys have settled. The actives are
// where creations put them.
func TestPropertyStandbysSettleByWeightAndCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := aCluster(rapid.IntRange(3, 6).Draw(t, "nodes"))
		for _, n := range c.nodes {
			c.capacity[n] = rapid.SampledFrom([]int64{1, 1, 2}).Draw(t, "capacity")
		}
		heaviest := rapid.SampledFrom([]int64{1, 10}).Draw(t, "heaviest")
		m, figures := load.MeasureOf(load.DefaultCriteria()), make([]load.Figures, len(c.nodes))
		for i := range rapid.IntRange(40, 60).Draw(t, "vips") {
			vip := fmt.Sprintf("v%02d", i)
			c.weight[vip] = rapid.Int64Range(1, heaviest).Draw(t, "weight")
			best := 0
			for n := range c.nodes {
				figures[n].Capacity = c.capacity[c.nodes[n]]
				if m.Compare(figures[n].With(c.weight[vip], 0), figures[best].With(c.weight[vip], 0)) < 0 {
					best = n
				}
			}
			figures[best] = figures[best].With(c.weight[vip], 0)
			c.active[vip] = c.nodes[best]
			c.guard[vip] = rapid.SampledFrom(slices.DeleteFunc(slices.Clone(c.nodes), func(n string) bool { return n == c.nodes[best] })).Draw(t, "guard")
		}
		for rounds := 0; ; rounds++ {
			moves := Plan(c.state(8))
			if len(moves) == 0 {
				break
			}
			for _, m := range moves {
				c.move(m)
			}
			if rounds > 200 {
				t.Fatal("it doesn't come to an end")
			}
		}
		if err := c.even(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAMillionHeavyVIPsOnTheLargestNodesCompareExactly(t *testing.T) {
	full := share{amount: 1000 * 1000 * 1000, capacity: 1000000}
	for _, tt := range []struct {
		other share
		want  int
	}{
		{full, 0}, {full.plus(1), -1}, {full.plus(-1), 1}, {share{amount: 999, capacity: 1}, 1}, {share{amount: 1000, capacity: 1}, 0}, {share{amount: 1001, capacity: 1}, -1},
	} {
		if got := full.compare(tt.other); got != tt.want {
			t.Errorf("%+v against %+v: got %d, want %d", full, tt.other, got, tt.want)
		}
	}
	if got := full.gain(share{capacity: 1000000}, 1000); got != 1000*1000000 {
		t.Errorf("a gain of %d", got)
	}
}

// busy is what VIPs were measured to carry, in Mbit/s.
func busy(rates map[string]int64) load.Reading {
	now, meter := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), load.NewMeter()
	traffic := &v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	traffic.Status.MeasuredAt = metav1.NewTime(now)
	for vip, rate := range rates {
		traffic.Status.VIPs = append(traffic.Status.VIPs, v1alpha1.VIPTraffic{Name: vip, BytesPerSecond: rate * 125000})
	}
	meter.Observe(traffic)
	return meter.Read(now, 0)
}

func TestStandbysAreSpreadByTrafficWhereThatComesFirst(t *testing.T) {
	c := aCluster(3)
	for i := range 4 {
		vip := fmt.Sprintf("v%d", i)
		c.active[vip], c.guard[vip], c.weight[vip] = "node-1", c.nodes[1+i%2], 1
	}
	s := c.state(8) // v0 and v2 are guarded by node-2
	s.Reading = busy(map[string]int64{"v0": 100, "v2": 90, "v1": 2})
	if moves := Plan(s); len(moves) > 0 {
		t.Errorf("planned %v though the counts are even", moves)
	}
	s.Measure = load.MeasureOf([]load.Criterion{load.Traffic})
	if moves := Plan(s); len(moves) != 1 || moves[0].From != "node-2" {
		t.Errorf("planned %v, want one of the busy VIPs to be guarded elsewhere", moves)
	}
	s.Reading = busy(map[string]int64{"v0": 100, "v1": 99, "v2": 3})
	if moves := Plan(s); len(moves) > 0 {
		t.Errorf("planned %v though the busy ones go to different nodes", moves)
	}
}

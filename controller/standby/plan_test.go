package standby

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/load"
)

// cluster is actives and standbys by VIP.
type cluster struct {
	nodes  []string
	active map[string]string
	guard  map[string]string
	weight map[string]int64
}

func (c cluster) state(most int) State {
	s := State{Nodes: map[string]load.Node{}, Most: most,
		Movable: func(string) bool { return true }, Allowed: func(string, string) bool { return true }}
	for _, n := range c.nodes {
		s.Nodes[n] = load.Node{VIPs: map[string]load.Held{}}
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
	after := load.AfterLoss(active, s.Nodes)
	for _, n := range c.nodes {
		if n != active && n != m.From && (best == "" || after[n].Load < after[best].Load) {
			best = n
		}
	}
	c.guard[m.VIP] = best
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
	c := cluster{active: map[string]string{}, guard: map[string]string{}, weight: map[string]int64{}}
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

package rebalance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	change := func(s Snapshot, f func(name string, vip *VIP)) Snapshot {
		for name, vip := range s.VIPs {
			f(name, &vip)
			s.VIPs[name] = vip
		}
		return s
	}
	tests := map[string]struct {
		snapshot Snapshot
		moves    int
		want     []int
	}{
		"nothing at all":                       {placed(), 0, nil},
		"nodes without VIPs":                   {placed(0, 0, 0), 0, []int{0, 0, 0}},
		"one node":                             {placed(7), 0, []int{7}},
		"a difference of one is even":          {placed(3, 4, 3), 0, []int{3, 4, 3}},
		"a difference of two takes one move":   {placed(2, 4), 1, []int{3, 3}},
		"a node that returned gets its share":  {placed(15, 15, 0), 10, []int{10, 10, 10}},
		"only what is needed moves":            {placed(20, 10, 0), 10, []int{10, 10, 10}},
		"who has one more may keep it":         {placed(4, 1, 2), 1, []int{3, 2, 2}},
		"nodes take in proportion to capacity": {func() Snapshot { s := placed(9, 0); s.Nodes["node-0002"] = Node{Capacity: 2}; return s }(), 6, []int{3, 6}},
		"a closed node gets nothing":           {func() Snapshot { s := placed(4, 0, 0); s.Nodes["node-0002"] = Node{Closed: true}; return s }(), 2, []int{2, 0, 2}},
		"a closed node gives":                  {func() Snapshot { s := placed(4, 0, 2); s.Nodes["node-0001"] = Node{Closed: true}; return s }(), 2, []int{2, 2, 2}},
		"held VIPs stay": {change(placed(6, 0), func(name string, v *VIP) {
			if name != "vip-0003" {
				v.Held = "never"
			}
		}), 1, []int{5, 1}},
		"VIPs go where they are allowed": {change(placed(6, 0, 0), func(_ string, v *VIP) { v.Allowed = names(placed(0, 0)) }), 3, []int{3, 3, 0}},
		"one makes room for another where there is no direct way": {change(placed(3, 2, 1), func(_ string, v *VIP) {
			switch v.Active {
			case "node-0001":
				v.Allowed = []string{"node-0001", "node-0002"}
			case "node-0002":
				v.Allowed = []string{"node-0002", "node-0003"}
			}
		}), 2, []int{2, 2, 2}},
		"two segments are evened out for themselves": {change(placed(9, 9, 0, 4), func(_ string, v *VIP) {
			v.Allowed = []string{"node-0001", "node-0002"}
			if v.Active > "node-0002" {
				v.Allowed = []string{"node-0003", "node-0004"}
			}
		}), 2, []int{9, 9, 2, 2}},
		"below the threshold nothing moves":            {func() Snapshot { s := placed(9, 0); s.Threshold = 9; return s }(), 0, []int{9, 0}},
		"above it everything is evened out":            {func() Snapshot { s := placed(10, 0); s.Threshold = 9; return s }(), 5, []int{5, 5}},
		"a threshold below the largest weight is none": {func() Snapshot { s := placed(1, 0); s.Threshold = -3; return s }(), 0, []int{1, 0}},
		"a VIP whose node is unknown is left out":      {func() Snapshot { s := placed(2, 2); s.VIPs["other"] = VIP{Active: "gone", Allowed: names(s)}; return s }(), 0, []int{2, 2}},
		"VIPs of weight 5 may differ by 5":             {change(placed(2, 1, 1), func(_ string, v *VIP) { v.Weight = 5 }), 0, []int{2, 1, 1}},
		"one of weight 5 outweighs five of weight 1": {change(placed(6, 0), func(name string, v *VIP) {
			if name == "vip-0000" {
				v.Weight = 5
			}
		}), 1, []int{5, 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := Plan(test.snapshot)
			if len(p.Moves) != test.moves {
				t.Errorf("%d moves, want %d: %v", len(p.Moves), test.moves, p.Moves)
			}
			if diff := cmp.Diff(test.want, counts(test.snapshot.Apply(p.Moves...))); diff != "" {
				t.Errorf("VIPs on the nodes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSwapsComeFirstThenIdleVIPs(t *testing.T) {
	s := placed(4, 0)
	set := func(name string, traffic int64, standbys ...string) {
		vip := s.VIPs[name]
		vip.Traffic, vip.Standbys = traffic, standbys
		s.VIPs[name] = vip
	}
	set("vip-0000", 0)
	set("vip-0001", 5000)
	set("vip-0002", 5_000_000, "node-0002")
	set("vip-0003", 100)
	want := []Move{
		{VIP: "vip-0000", From: "node-0001", To: "node-0002", Weight: 1, Reason: Imbalance},
		{VIP: "vip-0002", From: "node-0001", To: "node-0002", Swap: true, Weight: 1, Reason: Imbalance},
	}
	if diff := cmp.Diff(want, Plan(s).Moves); diff != "" {
		t.Errorf("moves (-want +got):\n%s", diff)
	}
	after := s.Apply(want...)
	if diff := cmp.Diff([]string{"node-0001"}, after.VIPs["vip-0002"].Standbys); diff != "" {
		t.Errorf("standbys after the swap (-want +got):\n%s", diff)
	}
}

func TestAMoveMoreIsNotMadeForTheSakeOfSwaps(t *testing.T) {
	s := placed(4, 2, 0) // a swap would lead to node 2, which would then have to give one to node 3
	for name, vip := range s.VIPs {
		if vip.Active == "node-0001" {
			vip.Standbys = []string{"node-0002"}
		} else {
			vip.Standbys = []string{"node-0003"}
		}
		s.VIPs[name] = vip
	}
	if p := Plan(s); len(p.Moves) != 2 || p.Moves[0].Swap || p.Moves[1].Swap {
		t.Errorf("planned %v", p.Moves)
	}
}

func TestClassify(t *testing.T) {
	s := placed(5, 5, 0, 3, 3)
	for name, vip := range s.VIPs {
		vip.Allowed = []string{"node-0001", "node-0002", "node-0003"}
		if vip.Active > "node-0003" {
			vip.Allowed = []string{"node-0004", "node-0005"}
		}
		s.VIPs[name] = vip
	}
	s.Nodes["node-0003"] = Node{Joined: true}
	s.Nodes["node-0005"] = Node{Joined: true}
	held := s.VIPs["vip-0015"]
	held.Held = "never"
	s.VIPs["vip-0015"] = held
	got := Classify(s)
	for i := range got {
		got[i].Nodes = nil
	}
	want := []Area{
		{VIPs: 10, Spread: 5, Limit: 1, Fullest: "node-0001", Emptiest: "node-0003", Uneven: true, Reason: NodeJoined},
		{VIPs: 6, Held: 1, Spread: 0, Limit: 1, Fullest: "node-0004", Emptiest: "node-0005"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("areas (-want +got):\n%s", diff)
	}
	s.Nodes["node-0003"] = Node{}
	if got := Classify(s)[0].Reason; got != Imbalance {
		t.Errorf("reason %q", got)
	}
	s.Nodes["node-0003"] = Node{Closed: true, Joined: true}
	if got := Classify(s)[0]; got.Uneven {
		t.Errorf("a node that takes nothing makes it uneven: %+v", got)
	}
}

func TestOneMakesRoomForAnother(t *testing.T) {
	chain := func(counts ...int) (order []string) { // node 1 -> 2 -> 3 -> 4 is the only way
		s := placed(counts...)
		for name, vip := range s.VIPs {
			i := slices.Index(names(s), vip.Active)
			vip.Allowed = names(s)[i:min(i+2, len(counts))]
			s.VIPs[name] = vip
		}
		for _, m := range Plan(s).Moves {
			order = append(order, fmt.Sprintf("%s-%s", m.From[8:], m.To[8:]))
		}
		slices.Sort(order)
		return order
	}
	if diff := cmp.Diff([]string{"3-4"}, chain(2, 2, 2, 0)); diff != "" {
		t.Errorf("moves that make 2, 2, 1, 1 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1-2", "2-3", "3-4"}, chain(3, 2, 2, 1)); diff != "" {
		t.Errorf("moves that make 2, 2, 2, 2 (-want +got):\n%s", diff)
	}
}

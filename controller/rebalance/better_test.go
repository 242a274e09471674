package rebalance

import (
	"fmt"
	"testing"
)

// The fullest node's VIPs are held. Two moves would bring the emptiest one within the largest weight of it, but 10, 7, 4, 8 would be
// 10, 5, 9, 5: what follows the fullest node would be fuller than before.
func TestEvenAtThePriceOfFullerNodesIsNotPlanned(t *testing.T) {
	s := Snapshot{Nodes: nodes(4), VIPs: map[string]VIP{}}
	all := names(s)
	on := func(node int, weight int64, held string, allowed ...string) {
		s.VIPs[fmt.Sprintf("vip-%d", len(s.VIPs))] = VIP{Weight: weight, Active: all[node], Allowed: append(allowed, all[node]), Held: held}
	}
	on(0, 5, "never", all...)
	on(0, 5, "never")
	on(1, 5, "", all[2])
	on(1, 2, "never")
	on(2, 4, "never")
	on(3, 3, "", all[1])
	on(3, 5, "never")
	if p := Plan(s); !p.Areas[0].Uneven || len(p.Moves) > 0 {
		t.Errorf("%+v: planned %v", p.Areas[0], p.Moves)
	}
}

// A heavy VIP that moved to a small node must leave it again; it has to go where it may stay at once.
func TestHeavyVIPsDoNotEndOnSmallNodes(t *testing.T) {
	s := placed(0, 1, 0, 24, 0, 12, 2, 1)
	for i, capacity := range []int64{1000000, 25000, 1000, 1000, 25000, 1000, 1000, 1000} {
		s.Nodes[fmt.Sprintf("node-%04d", i+1)] = Node{Capacity: capacity}
	}
	for i, heavy := range "0110110000001100100111001110110011000000" {
		if name := fmt.Sprintf("vip-%04d", i); heavy == '1' {
			vip := s.VIPs[name]
			vip.Weight = 100
			s.VIPs[name] = vip
		}
	}
	if p := Plan(s); p.After.Spread() > 100 {
		t.Errorf("a spread of %d is left, weights are up to 100: %v", p.After.Spread(), p.After)
	}
}

func TestBetterOutcomes(t *testing.T) {
	tests := map[string]struct {
		capacity, toCapacity int64
		vips, toVIPs         int // of weight 2
		want                 bool
	}{
		"to a lower level":                               {1, 1, 2, 0, true},
		"to the same level":                              {1, 1, 2, 1, false},
		"to a higher level":                              {1, 1, 2, 2, false},
		"to a larger node, where it is a lower level":    {1, 2, 2, 2, true},
		"to a larger node, where it is a higher level":   {1, 2, 1, 2, false},
		"to the same level, but the next unit is lower":  {2, 1, 2, 0, true},
		"to the same level, but the next unit is higher": {1, 2, 1, 1, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := placed(test.vips, test.toVIPs)
			for name, vip := range s.VIPs {
				vip.Weight = 2
				s.VIPs[name] = vip
			}
			s.Nodes["node-0001"], s.Nodes["node-0002"] = Node{Capacity: test.capacity}, Node{Capacity: test.toCapacity}
			if got := areas(s)[0].better([]step{{0, 1}}, nil); got != test.want {
				t.Errorf("better: %v, want %v", got, test.want)
			}
			moved := outcomeOf(s, []Move{{VIP: "vip-0000", From: "node-0001", To: "node-0002"}})
			if got := compareOutcomes(moved, outcomeOf(s, nil)) < 0; got != test.want {
				t.Errorf("compared unit by unit: %v, want %v", got, test.want)
			}
		})
	}
}

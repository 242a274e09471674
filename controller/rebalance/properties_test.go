package rebalance

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	equalWeights = []int64{1}
	mixedWeights = []int64{1, 2, 3, 5}
)

// legal checks what every plan must keep, move by move.
func legal(t *rapid.T, s Snapshot, p Proposal) {
	moved := map[string]bool{}
	area := map[string]int{}
	highest := make([]Share, len(p.Areas))
	for i, a := range p.Areas {
		for _, share := range a.Nodes {
			area[share.Node] = i
		}
		highest[i] = fullest(a.Nodes)
	}
	at := s
	for _, m := range p.Moves {
		vip := s.VIPs[m.VIP]
		switch {
		case moved[m.VIP]:
			t.Fatalf("%s is moved twice", m.VIP)
		case vip.Held != "":
			t.Fatalf("%s is held and moved", m.VIP)
		case vip.Active != m.From || m.From == m.To:
			t.Fatalf("%v, but it is on %s", m, vip.Active)
		case !slices.Contains(vip.Allowed, m.To) || s.Nodes[m.To].Closed:
			t.Fatalf("%v, where it may not be", m)
		case m.Swap != slices.Contains(vip.Standbys, m.To):
			t.Fatalf("%v, with standbys on %v", m, vip.Standbys)
		case area[m.From] != area[m.To]:
			t.Fatalf("%v leads to another area", m)
		}
		moved[m.VIP] = true
		at = at.Apply(m)
		i := area[m.To]
		now := fullest(slices.DeleteFunc(at.Distribution(), func(s Share) bool { return area[s.Node] != i }))
		if above(now.Load, now.Capacity, highest[i].Load, highest[i].Capacity) {
			t.Fatalf("%v raises the highest level from %v to %v", m, highest[i], now)
		}
		highest[i] = now
	}
	if diff := cmp.Diff(p.After, at.Distribution()); diff != "" {
		t.Fatalf("after (-said +is):\n%s", diff)
	}
}

// settles carries plans out until there is nothing to plan, as the executor does. Each of them must leave a better outcome than it
// starts from, and so it ends: there are only so many. With equal weights the first plan leaves nothing to plan. Where weights differ
// and constraints keep an area from being even, the next plan may find more.
func settles(t *rapid.T, s Snapshot, p Proposal, weights []int64) {
	for plans := 1; ; plans++ {
		legal(t, s, p)
		if len(p.Moves) == 0 {
			return
		}
		if compareOutcomes(outcomeOf(s, p.Moves), outcomeOf(s, nil)) >= 0 {
			t.Fatalf("plan %d is no better than no moves: %v", plans, p.Moves)
		}
		if len(weights) == 1 && plans > 1 {
			t.Fatalf("after a plan more moves are planned: %v", p.Moves)
		}
		s = s.Apply(p.Moves...)
		p = Plan(s)
	}
}

func fullest(d Distribution) Share {
	_, i, _ := d.extremes()
	return d[i]
}

func TestPropertyPlansAreLegalDeterministicAndIdempotent(t *testing.T) {
	for name, weights := range map[string][]int64{"equal weights": equalWeights, "equal weights of 3": {3}, "mixed weights": mixedWeights, "one heavy": {1, 1, 1, 100}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := aCluster(t, 7, 30, weights)
				p := Plan(s)
				again := Snapshot{Nodes: maps.Clone(s.Nodes), VIPs: maps.Clone(s.VIPs), Threshold: s.Threshold}
				if diff := cmp.Diff(p, Plan(again)); diff != "" {
					t.Fatalf("another plan for the same snapshot:\n%s", diff)
				}
				settles(t, s, p, weights)
			})
		})
	}
}

// Without constraints everything comes within the largest weight.
func TestPropertyAFreeClusterBecomesEven(t *testing.T) {
	for name, weights := range map[string][]int64{"equal weights": equalWeights, "mixed weights": mixedWeights, "one heavy": {1, 1, 1, 100}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := aCluster(t, 12, 60, weights)
				heaviest := int64(1)
				for name, vip := range s.VIPs {
					vip.Held, vip.Allowed = "", names(s)
					s.VIPs[name] = vip
					heaviest = max(heaviest, vip.Weight)
				}
				if p := Plan(s); p.After.Spread() > heaviest {
					t.Fatalf("a spread of %d is left, weights are up to %d", p.After.Spread(), heaviest)
				}
			})
		})
	}
}

// The executor begins few moves at a time and plans anew in between: that ends, too.
func TestPropertyPlanningAnewAfterEachMoveEnds(t *testing.T) {
	for name, weights := range map[string][]int64{"equal weights": equalWeights, "mixed weights": mixedWeights, "one heavy": {1, 1, 1, 100}} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := aCluster(t, 6, 16, weights)
				atOnce := rapid.IntRange(1, 4).Draw(t, "at once")
				for moves := 0; ; {
					p := Plan(s)
					if len(p.Moves) == 0 {
						return
					}
					begun := p.Moves[:min(atOnce, len(p.Moves))]
					if moves += len(begun); moves > 4*len(s.VIPs) {
						t.Fatalf("%d VIPs, %d moves, and still: %v", len(s.VIPs), moves, p.Moves)
					}
					s = s.Apply(begun...)
				}
			})
		})
	}
}

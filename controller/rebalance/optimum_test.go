package rebalance

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// outcome of an assignment: how uneven it is and what it took.
type outcome struct {
	levels []Share // the level to which each unit of load brought its node, the highest first
	spread int64
	moves  int
	swaps  int
}

// everyAssignment calls visit with all sets of moves that are allowed, each VIP at most once.
func everyAssignment(s Snapshot, visit func(moves []Move)) {
	vips := slices.Sorted(maps.Keys(s.VIPs))
	var moves []Move
	var choose func(i int)
	choose = func(i int) {
		if i == len(vips) {
			visit(moves)
			return
		}
		choose(i + 1)
		vip := s.VIPs[vips[i]]
		if _, known := s.Nodes[vip.Active]; !known || vip.Held != "" {
			return
		}
		targets := slices.Clone(vip.Allowed)
		slices.Sort(targets)
		for _, to := range slices.Compact(targets) {
			if node, ok := s.Nodes[to]; ok && !node.Closed && to != vip.Active {
				moves = append(moves, Move{VIP: vips[i], From: vip.Active, To: to, Swap: slices.Contains(vip.Standbys, to)})
				choose(i + 1)
				moves = moves[:len(moves)-1]
			}
		}
	}
	choose(0)
}

func outcomeOf(s Snapshot, moves []Move) outcome {
	d := s.Apply(moves...).Distribution()
	o := outcome{spread: d.Spread(), moves: len(moves)}
	for _, m := range moves {
		if m.Swap {
			o.swaps++
		}
	}
	for _, share := range d {
		for load := int64(1); load <= share.Load; load++ {
			o.levels = append(o.levels, Share{Load: load, Capacity: share.Capacity})
		}
	}
	slices.SortFunc(o.levels, compareShares)
	return o
}

func compareShares(a, b Share) int { return cmp.Compare(b.Load*a.Capacity, a.Load*b.Capacity) }

// compareOutcomes: the more even first, then the one of fewer moves, then the one of more swaps.
func compareOutcomes(a, b outcome) int {
	return cmp.Or(slices.CompareFunc(b.levels, a.levels, compareShares), cmp.Compare(a.moves, b.moves), cmp.Compare(b.swaps, a.swaps))
}

// With equal weights a plan is the best there is, whatever VIPs are allowed: no assignment is more even, none as even takes fewer
// moves, and none of these has more swaps.
func TestPropertyEqualWeightsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aCluster(t, 4, 7, equalWeights)
		for _, a := range Classify(s) {
			if !a.Uneven { // then nothing is to move, though constraints may allow it to be more even
				return
			}
		}
		var best *outcome
		everyAssignment(s, func(moves []Move) {
			if o := outcomeOf(s, moves); best == nil || compareOutcomes(o, *best) < 0 {
				best = &o
			}
		})
		p := Plan(s)
		if got := outcomeOf(s, p.Moves); compareOutcomes(got, *best) != 0 {
			t.Fatalf("planned %v:\n%+v, want\n%+v", p.Moves, got, *best)
		}
	})
}

// With different weights a plan is as short as any that makes the area even and is an improvement, if there is one. Both, because a few
// even outcomes are worse than what they start from: where the fullest node's VIPs are held, an emptier one may be
// lifted at the price of another node's becoming nearly as full.
func TestPropertyDifferentWeightsAreExactIfSmall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := aCluster(t, 4, 7, mixedWeights)
		all := Classify(s)
		if len(all) != 1 || !all[0].Uneven {
			return
		}
		limit := all[0].Limit
		used := map[string]bool{}
		for _, share := range all[0].Nodes {
			used[share.Node] = true
		}
		before := outcomeOf(s, nil)
		least := -1
		everyAssignment(s, func(moves []Move) {
			if least >= 0 && len(moves) >= least {
				return
			}
			after := slices.DeleteFunc(s.Apply(moves...).Distribution(), func(s Share) bool { return !used[s.Node] })
			if after.Spread() <= limit && compareOutcomes(outcomeOf(s, moves), before) < 0 && orderable(s, moves) {
				least = len(moves)
			}
		})
		p := Plan(s)
		after := slices.DeleteFunc(p.After, func(s Share) bool { return !used[s.Node] })
		switch {
		case least < 0 && after.Spread() <= limit:
			t.Fatal("planned what can't be")
		case least >= 0 && after.Spread() > limit:
			t.Fatalf("planned %v, a spread of %d is left; %d moves would do", p.Moves, after.Spread(), least)
		case least >= 0 && len(p.Moves) > least:
			t.Fatalf("planned %d moves, %d would do", len(p.Moves), least)
		}
	})
}

// orderable says whether moves can be made one by one without raising the highest level.
func orderable(s Snapshot, moves []Move) bool {
	if len(moves) == 0 {
		return true
	}
	highest := fullest(s.Distribution())
	for i, m := range moves {
		next := s.Apply(m)
		now := fullest(next.Distribution())
		if above(now.Load, now.Capacity, highest.Load, highest.Capacity) {
			continue
		}
		if orderable(next, slices.Delete(slices.Clone(moves), i, i+1)) {
			return true
		}
	}
	return false
}

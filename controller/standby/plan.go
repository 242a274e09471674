// Package standby keeps standbys spread, so that whichever node is lost, its VIPs come out evenly over the others. A standby
// that is in the wrong place is marked as leaving; package vip then brings another one on guard before it goes.
package standby

import (
	"cmp"
	"maps"
	"slices"

	"evenkeel.io/evenkeel/api/load"
)

// State is what a plan is made from.
type State struct {
	// Nodes with what is on them and their capacities: those that can announce VIPs.
	Nodes map[string]load.Node
	// Measure says what is to be even: the first of its criteria that can be foretold.
	Measure load.Measure
	// Reading is what VIPs were last measured to carry.
	Reading load.Reading
	// Movable says whether a VIP's standby may be replaced now: its active announces, its standbys are on guard, and nothing of
	// it is under way.
	Movable func(vip string) bool
	// Allowed says whether a VIP's standby may be placed on a node.
	Allowed func(vip, node string) bool
	// Most is how many moves to plan.
	Most int
}

// Move has the standby of a VIP leave a node. Where it goes is the scheduler's to say, by the same measure.
type Move struct {
	VIP, From string
}

// Plan finds the standbys to move so that after the loss of any one node none of the others carries more, for its capacity, than any
// other one would with the largest VIP on top, as far as moves of standbys can achieve it. With equal capacities that means: their loads
// differ by no more than the largest weight. VIPs of a node whose standbys are on the move already are left alone.
func Plan(s State) []Move {
	var moves []Move
	amounts := amountsOf(s)
	for _, lost := range slices.Sorted(maps.Keys(s.Nodes)) {
		if len(moves) < s.Most && !moving(lost, s.Nodes) {
			moves = append(moves, planFor(lost, amounts, s.Most-len(moves), s)...)
		}
	}
	return moves
}

// planFor plans for the loss of one node.
func planFor(lost string, amounts amounts, most int, s State) []Move {
	heirs, after := load.Heirs(lost, s.Nodes), map[string]share{}
	for name, a := range load.AfterLoss(lost, s.Nodes) {
		after[name] = amounts.share(name, s.Nodes[name])
		for _, vip := range a.Inherits {
			after[name] = after[name].plus(amounts.of(vip, s.Nodes[lost].VIPs[vip]))
		}
	}
	var moves []Move
	for len(moves) < most {
		names := slices.SortedFunc(maps.Keys(after), func(a, b string) int {
			return cmp.Or(after[b].compare(after[a]), cmp.Compare(a, b))
		})
		vip, to, ok := improve(lost, names, amounts, after, heirs, s)
		if !ok {
			return moves
		}
		from, amount := heirs[vip], amounts.of(vip, s.Nodes[lost].VIPs[vip])
		moves = append(moves, Move{VIP: vip, From: from})
		after[from], after[to] = after[from].plus(-amount), after[to].plus(amount)
		delete(heirs, vip) // one move for a VIP at a time
	}
	return moves
}

// improve finds the move from the fullest node to the emptiest that lessens the more of the two most; names are the nodes, the
// fullest first. Where VIPs may not go to the emptiest, or none are movable, the next ones are tried.
func improve(lost string, names []string, amounts amounts, after map[string]share, heirs map[string]string, s State) (vip, to string, ok bool) {
	var best int64
	for _, from := range names {
		uneven := false
		for _, target := range slices.Backward(names) {
			full, empty := after[from], after[target]
			if full.compare(empty) <= 0 {
				break // and so for all fuller targets
			}
			if full.compare(empty.plus(amounts.largest)) <= 0 {
				continue // a larger node that is fuller may still have room
			}
			uneven = true
			for _, candidate := range slices.Sorted(maps.Keys(heirs)) {
				held := s.Nodes[lost].VIPs[candidate]
				_, there := s.Nodes[target].VIPs[candidate]
				if heirs[candidate] != from || there || !s.Movable(candidate) || !s.Allowed(candidate, target) {
					continue
				}
				if gain := full.gain(empty, amounts.of(candidate, held)); gain > best {
					vip, to, best = candidate, target, gain
				}
			}
			if best > 0 {
				return vip, to, true
			}
		}
		if !uneven {
			break // and so for all emptier nodes
		}
	}
	return "", "", false
}

// moving says whether a standby for one of the node's VIPs is about to leave its place.
func moving(node string, nodes map[string]load.Node) bool {
	for vip, held := range nodes[node].VIPs {
		if held.Standby {
			continue
		}
		for _, other := range nodes {
			if other.VIPs[vip].Leaving {
				return true
			}
		}
	}
	return false
}

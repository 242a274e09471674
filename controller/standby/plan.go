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
	// Nodes with what is on them: those that can announce VIPs.
	Nodes map[string]load.Node
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

// Plan finds the standbys to move so that after the loss of any one node the loads of the others differ by no more than the
// largest weight, as far as moves of standbys can achieve it. VIPs of a node whose standbys are on the move already are left alone.
func Plan(s State) []Move {
	limit := largestWeight(s.Nodes)
	var moves []Move
	for _, lost := range slices.Sorted(maps.Keys(s.Nodes)) {
		if len(moves) < s.Most && !moving(lost, s.Nodes) {
			moves = append(moves, planFor(lost, limit, s.Most-len(moves), s)...)
		}
	}
	return moves
}

// planFor plans for the loss of one node.
func planFor(lost string, limit int64, most int, s State) []Move {
	after, heirs := load.AfterLoss(lost, s.Nodes), load.Heirs(lost, s.Nodes)
	var moves []Move
	for len(moves) < most {
		names := slices.SortedFunc(maps.Keys(after), func(a, b string) int {
			return cmp.Or(cmp.Compare(after[b].Load, after[a].Load), cmp.Compare(a, b))
		})
		vip, to, ok := improve(lost, names, limit, after, heirs, s)
		if !ok {
			return moves
		}
		from, weight := heirs[vip], s.Nodes[lost].VIPs[vip].Weight
		moves = append(moves, Move{VIP: vip, From: from})
		shift(after, from, -weight)
		shift(after, to, weight)
		delete(heirs, vip) // one move for a VIP at a time
	}
	return moves
}

// improve finds the move from the fullest node to the emptiest that lessens their difference most; names are the nodes, the
// fullest first. Where VIPs may not go to the emptiest, or none are movable, the next ones are tried.
func improve(lost string, names []string, limit int64, after map[string]load.After, heirs map[string]string, s State) (vip, to string, ok bool) {
	var best int64
	for _, from := range names {
		for _, target := range slices.Backward(names) {
			gap := after[from].Load - after[target].Load
			if gap <= limit {
				break // and so for all fuller targets
			}
			for _, candidate := range slices.Sorted(maps.Keys(heirs)) {
				weight := s.Nodes[lost].VIPs[candidate].Weight
				_, there := s.Nodes[target].VIPs[candidate]
				if heirs[candidate] != from || there || !s.Movable(candidate) || !s.Allowed(candidate, target) {
					continue
				}
				if gain := min(weight, gap-weight); gain > best {
					vip, to, best = candidate, target, gain
				}
			}
			if best > 0 {
				return vip, to, true
			}
		}
	}
	return "", "", false
}

func shift(after map[string]load.After, node string, weight int64) {
	a := after[node]
	a.Load += weight
	after[node] = a
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

func largestWeight(nodes map[string]load.Node) int64 {
	largest := int64(1)
	for _, node := range nodes {
		for _, held := range node.VIPs {
			largest = max(largest, held.Weight)
		}
	}
	return largest
}

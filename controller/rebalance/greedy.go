package rebalance

import (
	"cmp"
	"slices"
)

// lightest plans for an area whose VIPs have different weights: greedily, then shorter if a search finds how. The plan is better
// than no move, or empty.
func (a *area) lightest() []step {
	plan, even := a.greediest()
	s := newSearch(a)
	if s.movable*len(a.nodes) > searchWork/1000 {
		return plan // too large to look at more than a handful of plans
	}
	least := max(1, s.bound())
	most := len(plan) - 1
	if !even {
		most = s.movable
	}
	for moves := least; moves <= most && s.work > 0; moves++ {
		if found := s.find(moves); found != nil {
			return found
		}
	}
	return plan
}

// greediest goes about it greedily in several ways and takes the first plan that makes the area even, or else the one that comes
// nearest. To keep below the ceiling leads to fewer moves, if what VIPs are allowed doesn't stand in the way; so does it to move no VIP
// again, which may lead to a dead end.
func (a *area) greediest() (best []step, even bool) {
	ceiling := a.ceiling()
	for _, way := range []greed{{ceiling, false}, {ceiling, true}, {noCeiling, false}, {noCeiling, true}} {
		steps, even := a.greedy(way)
		if even {
			steps = a.pruned(steps)
		}
		if way.again {
			var complete bool
			steps, complete = a.ordered(steps)
			even = even && complete
		}
		if even && a.better(steps, nil) {
			return steps, true
		}
		if a.better(steps, best) {
			best = steps
		}
	}
	return best, false
}

// greed is a way to go about it: the level above which nothing is moved, and whether VIPs may be moved again.
type greed struct {
	ceiling level
	again   bool
}

// againAtMost bounds the time of a greedy plan: so many moves for each VIP, on average.
const againAtMost = 4

// greedy moves VIPs from the fullest nodes to emptier ones until the area is even or no move between nodes that differ by more
// than the largest weight is left, and says which. Each move is an improvement by itself. Unless VIPs are moved again, the steps
// are in an order in which none raises the highest level.
func (a *area) greedy(way greed) (steps []step, even bool) {
	on := make([][]int, len(a.nodes))
	at := make([]int, len(a.vips))
	moves := 0
	for i, vip := range a.vips {
		at[i] = vip.home
		if !vip.held {
			on[vip.home] = append(on[vip.home], i)
			moves += againAtMost
		}
	}
	var order []int // the VIPs that were moved
	defer func() {
		for _, vip := range order {
			if home := a.vips[vip].home; at[vip] != home {
				a.move(vip, at[vip], home)
				steps = append(steps, step{vip, at[vip]})
			}
		}
	}()
	touched := make([]bool, len(a.vips))
	stuck := newSet(len(a.nodes))
	progress := false
	for !a.even() {
		from := noNode
		for i := range a.nodes {
			if len(on[i]) > 0 && !stuck.has(i) && (from == noNode || a.compareLevels(i, from) > 0) {
				from = i
			}
		}
		if from == noNode {
			if !progress {
				return nil, false
			}
			progress = false // a node that was too full for the stuck ones may have given something away since
			clear(stuck)
			continue
		}
		best, ok := a.best(from, on[from], way.ceiling)
		if !ok {
			stuck.add(from)
			continue
		}
		if moves--; moves < 0 {
			return nil, false
		}
		progress = true
		a.move(best.vip, from, best.to)
		at[best.vip] = best.to
		if !touched[best.vip] {
			touched[best.vip] = true
			order = append(order, best.vip)
		}
		on[from] = without(on[from], best.vip)
		if way.again {
			on[best.to] = append(on[best.to], best.vip)
		}
	}
	return nil, true
}

// best finds the move off a node that helps most: that which brings the two nodes nearest to the mean.
func (a *area) best(from int, vips []int, ceiling level) (best step, ok bool) {
	var merit merit
	for _, vip := range vips {
		p := &a.vips[vip]
		for to := range a.classes[p.class].all() {
			if to == from || a.falls(to, from) <= a.largest ||
				above(a.shares[to].Load+p.weight, a.shares[to].Capacity, ceiling.load, ceiling.capacity) {
				continue
			}
			if m := a.merit(step{vip, to}, from); !ok || m.compare(merit) < 0 {
				best, merit, ok = step{vip, to}, m, true
			}
		}
	}
	return best, ok
}

// merit orders moves, the best one first.
type merit struct {
	gain    int64
	over    Share // the target's load and capacity, where the move puts it above the mean
	swap    bool
	traffic int64
	gap     int64
	step    step
}

func (a *area) merit(s step, at int) merit {
	p := &a.vips[s.vip]
	from, to := a.offMean(at), a.offMean(s.to)
	weight := p.weight * a.capacity
	gain := abs(from) - abs(from-weight) + abs(to) - abs(to+weight)
	over := Share{Capacity: 1}
	if to+weight > 0 {
		over = Share{Load: a.shares[s.to].Load + p.weight, Capacity: a.shares[s.to].Capacity}
	}
	return merit{gain, over, slices.Contains(p.standbys, s.to), p.traffic, from - to, s}
}

// offMean is how far a node's load is off its part of all loads, in units of 1/(all capacities).
func (a *area) offMean(node int) int64 {
	return a.shares[node].Load*a.capacity - a.load*a.shares[node].Capacity
}

func abs(x int64) int64 { return max(x, -x) }

func (m merit) compare(n merit) int {
	swaps := 0
	switch {
	case m.swap && !n.swap:
		swaps = -1
	case n.swap && !m.swap:
		swaps = 1
	}
	return cmp.Or(cmp.Compare(n.gain, m.gain), cmp.Compare(m.over.Load*n.over.Capacity, n.over.Load*m.over.Capacity), swaps, cmp.Compare(m.traffic, n.traffic), cmp.Compare(n.gap, m.gap),
		cmp.Compare(m.step.vip, n.step.vip), cmp.Compare(m.step.to, n.step.to))
}

// pruned leaves out moves that turned out not to be needed.
func (a *area) pruned(steps []step) []step {
	for i := len(steps) - 1; i >= 0; i-- {
		fewer := slices.Delete(slices.Clone(steps), i, i+1)
		a.try(fewer)
		even := a.even()
		a.undo(fewer)
		if !even || !a.better(fewer, nil) {
			continue
		}
		if fewer, ok := a.ordered(fewer); ok {
			steps = fewer
			i = min(i, len(steps))
		}
	}
	return steps
}

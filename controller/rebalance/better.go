package rebalance

import (
	"cmp"
	"slices"
)

// level is a load in proportion to a capacity.
type level struct{ load, capacity int64 }

// noCeiling is above all levels.
var noCeiling = level{1, 0}

// ceiling is a level that no node is above in an even area. Below it by more than the largest weight is no node, so for any k nodes
// of capacities c, the load is at least the sum of ceiling*c - largest weight. The k largest ones make that strictest.
func (a *area) ceiling() level {
	var capacities []int64
	for i := range a.open.all() {
		capacities = append(capacities, a.shares[i].Capacity)
	}
	slices.SortFunc(capacities, func(x, y int64) int { return cmp.Compare(y, x) })
	ceiling, together := noCeiling, level{load: a.load}
	for _, capacity := range capacities {
		together.load += a.largest
		together.capacity += capacity
		if above(ceiling.load, ceiling.capacity, together.load, together.capacity) {
			ceiling = together
		}
	}
	return ceiling
}

// better says whether some steps leave a better outcome than others: the loads of nodes are seen as units, each at the level to which
// it brings its node, and of two outcomes the better one has the lower unit where they differ first from the top. As each plan has
// a better outcome than what it starts from, and there are only so many outcomes, to plan and to carry out plans comes to an end.
func (a *area) better(steps, others []step) bool {
	loads := make([][2]int64, len(a.nodes)) // what the steps and the others add
	for which, list := range [][]step{steps, others} {
		for _, s := range list {
			loads[a.vips[s.vip].home][which] -= a.vips[s.vip].weight
			loads[s.to][which] += a.vips[s.vip].weight
		}
	}
	var more, less heap[units] // that the steps leave and the others don't, and the reverse: as many, because no load is lost
	for i, load := range loads {
		share := &a.shares[i]
		switch left, other := share.Load+load[0], share.Load+load[1]; {
		case left > other:
			more.push(units{level{left, share.Capacity}, other})
		case left < other:
			less.push(units{level{other, share.Capacity}, left})
		}
	}
	for len(more) > 0 {
		m, l := nextUnit(&more), nextUnit(&less)
		if above(l.load, l.capacity, m.load, m.capacity) {
			return true
		}
		if above(m.load, m.capacity, l.load, l.capacity) {
			return false
		}
	}
	return false
}

// units of load of a node, from the highest one down to, and without, the last.
type units struct {
	level
	last int64
}

func (u units) before(v units) bool { return above(u.load, u.capacity, v.load, v.capacity) }

// nextUnit takes the highest unit.
func nextUnit(h *heap[units]) level {
	top := h.pop()
	if below := top; below.load-1 > below.last {
		below.load--
		h.push(below)
	}
	return top.level
}

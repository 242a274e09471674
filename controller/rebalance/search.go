package rebalance

import (
	"cmp"
	"slices"
)

// searchWork bounds a search by how many nodes and VIPs it looks at rather than by a time, so that the plan doesn't depend on the
// machine's speed. It is a few tenths of a second at most.
const searchWork = 20_000_000

// search looks for a plan of a given number of moves in an area of different weights.
type search struct {
	*area
	work    int // that is left
	movable int
	moved   []bool
	steps   []step
	// seen are the sets of moves that came to nothing, with how many more were to be made.
	seen map[uint64]int
	// leaving is the movable VIPs by home, the heaviest first.
	leaving  [][]int
	heaviest int64 // of the movable VIPs
}

func newSearch(a *area) *search {
	s := &search{area: a, work: searchWork, moved: make([]bool, len(a.vips)), leaving: make([][]int, len(a.nodes))}
	for i, vip := range a.vips {
		if !vip.held {
			s.movable++
			s.heaviest = max(s.heaviest, vip.weight)
			s.leaving[vip.home] = append(s.leaving[vip.home], i)
		}
	}
	for _, vips := range s.leaving {
		slices.SortStableFunc(vips, func(i, j int) int { return cmp.Compare(a.vips[j].weight, a.vips[i].weight) })
	}
	return s
}

// find returns that many moves which make the area even, in order; nil: there are none, or the work is used up.
func (s *search) find(moves int) []step {
	s.seen = map[uint64]int{}
	s.steps = s.steps[:0]
	return s.descend(moves, 0)
}

// descend branches on the two nodes that differ most: every plan has a move that takes a VIP from the one or brings one to the other.
func (s *search) descend(left int, sum uint64) []step {
	s.work -= len(s.nodes)
	spread, full, empty := s.shares.extremes()
	if spread <= s.largest {
		if plan, ok := s.inOrder(s.steps); ok {
			return plan
		}
		return nil
	}
	if left == 0 || s.work <= 0 || s.bound() > left {
		return nil
	}
	if tried, ok := s.seen[sum]; ok && tried >= left {
		return nil
	}
	s.seen[sum] = left
	for _, m := range s.branches(full, empty) {
		s.try([]step{m})
		s.moved[m.vip] = true
		s.steps = append(s.steps, m)
		plan := s.descend(left-1, sum^mix(uint64(m.vip)<<32|uint64(m.to)))
		s.steps = s.steps[:len(s.steps)-1]
		s.moved[m.vip] = false
		s.undo([]step{m})
		if plan != nil {
			return plan
		}
	}
	return nil
}

// branches are the moves off the full node and to the empty one, the best first. Of VIPs that are alike only the first is moved.
func (s *search) branches(full, empty int) []step {
	s.work -= len(s.vips)
	type kind struct {
		weight          int64
		home, class, to int
	}
	var merits []merit
	alike := map[kind]bool{}
	add := func(vip, to int) {
		p := &s.vips[vip]
		k := kind{p.weight, p.home, p.class, to}
		if alike[k] && len(p.standbys) == 0 {
			return
		}
		alike[k] = true
		merits = append(merits, s.merit(step{vip, to}, p.home))
	}
	for vip, p := range s.vips {
		if p.held || s.moved[vip] {
			continue
		}
		switch {
		case p.home == full:
			for to := range s.classes[p.class].all() {
				if to != full {
					add(vip, to)
				}
			}
		case p.home != empty && s.classes[p.class].has(empty):
			add(vip, empty)
		}
	}
	s.work -= 20 * len(merits)
	slices.SortFunc(merits, merit.compare)
	steps := make([]step, len(merits))
	for i, m := range merits {
		steps[i] = m.step
	}
	return steps
}

// inOrder orders steps that have been tried, by trying all orders if there are few. Steps that make the area even without an
// improvement don't count: they would raise nodes that are among the fullest.
func (s *search) inOrder(steps []step) ([]step, bool) {
	s.undo(steps)
	defer s.try(steps)
	if !s.better(steps, nil) {
		return nil, false
	}
	if plan, ok := s.ordered(steps); ok {
		return plan, true
	}
	if len(steps) > 12 {
		return nil, false
	}
	dead := map[int]bool{}
	var plan []step
	var extend func(done int) bool
	extend = func(done int) bool {
		if len(plan) == len(steps) {
			return true
		}
		if dead[done] {
			return false
		}
		s.work -= len(s.nodes)
		_, fullest, _ := s.shares.extremes()
		for i, m := range steps {
			if done&(1<<i) != 0 || s.raises(m, fullest) {
				continue
			}
			s.try([]step{m})
			plan = append(plan, m)
			ok := extend(done | 1<<i)
			s.undo([]step{m})
			if ok {
				return true
			}
			plan = plan[:len(plan)-1]
		}
		dead[done] = true
		return false
	}
	ok := extend(0)
	return plan, ok
}

// mix is the finalizer of MurmurHash3, to make sums of moves distinct.
func mix(x uint64) uint64 {
	x++
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// boundScale divides levels finely enough for a bound: times a load of millions and a capacity of a million it fits 64 bits.
const boundScale = 1 << 16

// bound is a number of moves that every plan needs at least. In an even area there is a level that no node is above and all nodes
// are at most the largest weight below. The higher that level, the fewer VIPs must leave nodes, and the more must be brought to some.
func (s *search) bound() int {
	var high int64 // no level needs to be above the highest, nor above what the largest weight adds to the lowest
	for _, share := range s.shares {
		high = max(high, (share.Load+s.largest)*boundScale/share.Capacity+1)
	}
	low := int64(-1)
	for low+1 < high { // the first level at which no more must leave than come
		level := low + (high-low)/2
		if out, ok := s.out(level + 1); ok && out <= s.in(level) {
			high = level
		} else {
			low = level
		}
	}
	out, _ := s.out(high + 1)
	least := max(out, s.in(high))
	if low >= 0 {
		if out, ok := s.out(low + 1); ok {
			least = min(least, max(out, s.in(low)))
		}
	}
	return least
}

// out is how many VIPs must leave nodes for none to be above a level; false: those that may leave don't suffice.
func (s *search) out(level int64) (count int, ok bool) {
	s.work -= len(s.nodes)
	for i := range s.shares {
		over := s.shares[i].Load - level*s.shares[i].Capacity/boundScale
		for _, vip := range s.leaving[i] {
			if over <= 0 {
				break
			}
			if !s.moved[vip] {
				over -= s.vips[vip].weight
				count++
			}
		}
		if over > 0 {
			return count, false
		}
	}
	return count, true
}

// in is how many VIPs must come to nodes for none to be further below a level than the largest weight.
func (s *search) in(level int64) int {
	s.work -= len(s.nodes)
	count := int64(0)
	for i := range s.open.all() {
		short := level*s.shares[i].Capacity/boundScale - s.largest - s.shares[i].Load
		if short > 0 && s.heaviest > 0 {
			count += (short + s.heaviest - 1) / s.heaviest
		}
	}
	return int(count)
}

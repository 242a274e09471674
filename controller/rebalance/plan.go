package rebalance

import (
	"cmp"
	"slices"
)

// Proposal is a plan with what it starts from and comes to.
type Proposal struct {
	Areas []Area
	// Moves in an order in which none raises the highest level in its area.
	Moves []Move
	// Before and After are all nodes with what they carry.
	Before, After Distribution
}

// Plan finds the smallest set of moves that makes the uneven areas even. Where what VIPs are allowed, or held ones, stand in the
// way of that, it comes as near as it can; no moves mean that there is nothing to gain.
func Plan(s Snapshot) Proposal {
	p := Proposal{Before: s.Distribution()}
	for _, a := range areas(s) {
		c := a.classify()
		p.Areas = append(p.Areas, c)
		if !c.Uneven {
			continue
		}
		for _, step := range a.plan() {
			vip := a.vips[step.vip]
			reason := Imbalance
			if a.joined[step.to] {
				reason = NodeJoined
			}
			p.Moves = append(p.Moves, Move{
				VIP: vip.name, From: a.nodes[vip.home], To: a.nodes[step.to], Swap: slices.Contains(vip.standbys, step.to),
				Weight: vip.weight, Reason: reason,
			})
		}
	}
	p.After = s.Apply(p.Moves...).Distribution()
	return p
}

// step is a move from a VIP's home.
type step struct{ vip, to int }

// plan is better than no move, or empty.
func (a *area) plan() []step {
	if !a.uniform {
		return a.lightest()
	}
	plan, _ := a.ordered(a.cheapest())
	if len(plan) > 0 && !a.better(plan, nil) {
		return a.lightest() // where loads and capacities are too large to tell all levels apart
	}
	return plan
}

// try carries steps out on the area's loads, and undo takes them back.
func (a *area) try(steps []step) {
	for _, s := range steps {
		a.move(s.vip, a.vips[s.vip].home, s.to)
	}
}

func (a *area) undo(steps []step) {
	for _, s := range steps {
		a.move(s.vip, s.to, a.vips[s.vip].home)
	}
}

// ordered puts steps in an order in which none raises the highest level: from the fullest node to the emptiest first. With equal
// weights and no more moves than needed any such choice leads to the end: were all targets too full to take one more, each
// would have to give away as many as it takes, and such a circle of moves could be left out. Else there may be no order: then it
// says so, and returns as many steps as could be ordered.
func (a *area) ordered(steps []step) ([]step, bool) {
	left := slices.Clone(steps)
	var done []step
	defer func() { a.undo(done) }()
	for len(left) > 0 {
		_, fullest, _ := a.shares.extremes()
		best := -1
		for i, s := range left {
			if a.raises(s, fullest) {
				continue
			}
			if best < 0 || a.sooner(s, left[best]) < 0 {
				best = i
			}
		}
		if best < 0 {
			return done, false
		}
		s := left[best]
		left = slices.Delete(left, best, best+1)
		a.try([]step{s})
		done = append(done, s)
	}
	return done, true
}

// raises says whether a step would put its target above the level of the fullest node.
func (a *area) raises(s step, fullest int) bool {
	to, full := &a.shares[s.to], &a.shares[fullest]
	return above(to.Load+a.vips[s.vip].weight, to.Capacity, full.Load, full.Capacity)
}

func (a *area) sooner(s, t step) int {
	return cmp.Or(
		a.compareLevels(a.vips[t.vip].home, a.vips[s.vip].home),
		a.compareLevels(s.to, t.to),
		cmp.Compare(s.vip, t.vip),
	)
}

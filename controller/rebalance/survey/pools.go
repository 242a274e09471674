package survey

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// pool is a VIPPool with its policy.
type pool struct {
	policy    policy.Policy
	situation policy.Situation
	// allowance is how many moves may begin now, hold what keeps back others.
	allowance int
	hold      *policy.Hold
}

// still says whether the pool's VIPs stay where they are, whatever the budget.
func (p *pool) still() bool {
	if p.hold == nil {
		return false
	}
	switch p.hold.Reason {
	case policy.Off, policy.Manual, policy.OutsideWindow, policy.MassFailure:
		return true
	}
	return false
}

func (s *surveyor) readPools() {
	s.pools = map[string]*pool{}
	left, mass := s.Nodes.Hold()
	for _, object := range s.Pools {
		p := &pool{}
		p.policy, _ = policy.Of(object.Spec.Rebalance, s.Defaults, field.NewPath("spec", "rebalance")) // the pool's condition tells
		if mass {
			p.situation.MassFailure = left
		}
		p.situation.Requested, _ = policy.Requested(object, s.Now)
		if object.Status.Rebalance != nil {
			p.situation.Moves = object.Status.Rebalance.Moves
		}
		s.pools[object.Name] = p
	}
	for _, vip := range s.VIPs {
		if p := s.pools[vip.Spec.Pool]; p != nil && evensOut(vip.Spec.Move) {
			p.situation.UnderWay++
		}
	}
	for _, p := range s.pools {
		p.allowance, p.hold = p.policy.Allowance(p.situation, s.Now)
	}
	s.names = slices.Sorted(maps.Keys(s.pools))
}

// evensOut says whether a move was asked for to even out.
func evensOut(move *v1alpha1.MoveRequest) bool { return move != nil && policy.EvensOut(move.Reason) }

// begin picks the moves that may begin now: of each pool as many as its policy allows.
func (s *surveyor) begin(moves []rebalance.Move) []rebalance.Move {
	var begin []rebalance.Move
	taken := map[string]int{}
	for _, move := range moves {
		name := s.vips[move.VIP].Spec.Pool
		if taken[name] < s.pools[name].allowance {
			taken[name]++
			begin = append(begin, move)
		}
	}
	return begin
}

func (s *surveyor) byPool(moves []rebalance.Move) map[string][]rebalance.Move {
	pools := map[string][]rebalance.Move{}
	for _, move := range moves {
		name := s.vips[move.VIP].Spec.Pool
		pools[name] = append(pools[name], move)
	}
	return pools
}

// holds lists what keeps moves back: of the planned ones their pools' limits, and where the plan falls short, all that was left out.
func (s *surveyor) holds(moves []rebalance.Move, short bool) []Held {
	var list []Held
	for name, planned := range s.byPool(moves) {
		if p := s.pools[name]; len(planned) > p.allowance && p.hold != nil {
			list = append(list, Held{Pool: name, Hold: *p.hold})
		}
	}
	if short {
		for name, p := range s.pools {
			if p.still() {
				list = append(list, Held{Pool: name, Hold: *p.hold})
			}
		}
		for name, hold := range s.heldVIPs {
			list = append(list, Held{VIP: name, Hold: hold})
		}
		for name, hold := range s.settling {
			list = append(list, Held{Node: name, Hold: hold})
		}
	}
	slices.SortFunc(list, func(a, b Held) int {
		return cmp.Or(strings.Compare(a.Pool, b.Pool), strings.Compare(a.VIP, b.VIP), strings.Compare(a.Node, b.Node))
	})
	return list
}

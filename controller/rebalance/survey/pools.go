package survey

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// pool is a VIPPool with its policy.
type pool struct {
	name string
	// most active VIPs of it that a node takes; 0: any number.
	most      int64
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
		p := &pool{name: object.Name, most: int64(ptr.Deref(object.Spec.MaxVIPsPerNode, 0))}
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
		if p := s.pools[vip.Spec.Pool]; p != nil && evensOut(vip.Spec.Move) && vip.Spec.ReleasedAt == nil {
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

// stand says how each pool stands before and after the planned moves, and what holds back what would even out.
func (s *surveyor) stand(out *Outlook, before, after regions) {
	planned := map[string]int{} // by the pool of the VIP
	for _, move := range out.Moves {
		planned[s.vips[move.VIP].Spec.Pool]++
	}
	homes := map[string]map[string]bool{} // nodes on which a pool has VIPs
	for name, at := range s.places {
		if vip := s.vips[name]; vip != nil && at.active != nil {
			if homes[vip.Spec.Pool] == nil {
				homes[vip.Spec.Pool] = map[string]bool{}
			}
			homes[vip.Spec.Pool][at.active.Spec.NodeName] = true
		}
	}
	all := map[Held]bool{}
	for _, name := range s.names {
		p := s.pools[name]
		standing := Standing{UnderWay: p.situation.UnderWay}
		there := map[string]bool{} // nodes of areas that are uneven by the pool's threshold
		short := false             // some stay so after the planned moves
		for node := range homes[name] {
			area := before.of(node)
			if !p.uneven(area) {
				continue
			}
			for _, share := range area.Nodes {
				there[share.Node] = true
				short = short || p.uneven(after.of(share.Node))
			}
		}
		for _, move := range out.Moves {
			if there[move.From] {
				standing.Missing++
			}
		}
		standing.Held = s.holds(name, planned, there, short)
		standing.Even = standing.Missing == 0 && standing.UnderWay == 0 && !short
		out.Pools[name] = standing
		for _, h := range standing.Held {
			if !all[h] {
				all[h] = true
				out.Held = append(out.Held, h)
			}
		}
		if p.situation.Requested && planned[name] == 0 && p.situation.UnderWay == 0 && !slices.ContainsFunc(standing.Held, Held.passes) {
			out.Served = append(out.Served, name)
		}
	}
	slices.SortStableFunc(out.Held, compareHeld)
}

// passes says whether what holds moves back will be over by itself.
func (h Held) passes() bool { return !h.Until.IsZero() || h.Reason == UnderWay }

// holds lists what keeps moves back on some nodes: of the planned ones their pools' limits, and where the plan falls short, all that
// was left out.
func (s *surveyor) holds(name string, planned map[string]int, there map[string]bool, short bool) []Held {
	var list []Held
	pools := append([]string{name}, slices.DeleteFunc(slices.Clone(s.names), func(other string) bool { return other == name })...)
	present := s.present(there)
	for _, other := range pools {
		p := s.pools[other]
		limited := planned[other] > p.allowance && p.hold != nil
		if present[other] && (limited || short && p.still()) {
			list = append(list, Held{Pool: other, Hold: *p.hold})
		}
	}
	if !short {
		return list
	}
	var rest []Held
	for vip, hold := range s.heldVIPs {
		if there[s.places[vip].active.Spec.NodeName] {
			rest = append(rest, Held{VIP: vip, Hold: hold})
		}
	}
	for node, hold := range s.settling {
		if there[node] {
			rest = append(rest, Held{Node: node, Hold: hold})
		}
	}
	slices.SortFunc(rest, compareHeld)
	return append(list, rest...)
}

// present are the pools that have VIPs on some nodes.
func (s *surveyor) present(there map[string]bool) map[string]bool {
	pools := map[string]bool{}
	for name, at := range s.places {
		if vip := s.vips[name]; vip != nil && at.active != nil && there[at.active.Spec.NodeName] {
			pools[vip.Spec.Pool] = true
		}
	}
	return pools
}

func compareHeld(a, b Held) int {
	return cmp.Or(strings.Compare(a.Pool, b.Pool), strings.Compare(a.VIP, b.VIP), strings.Compare(a.Node, b.Node))
}

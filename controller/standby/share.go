package standby

import (
	"cmp"

	"evenkeel.io/evenkeel/api/load"
)

// amounts says how much of what is to be even a VIP is: its weight, or its traffic in Mbit/s.
type amounts struct {
	traffic bool
	reading load.Reading
	// largest of all VIPs.
	largest int64
}

// megabit a second in bytes per second; less traffic counts as none.
const megabit = 125000

func amountsOf(s State) amounts {
	a := amounts{reading: s.Reading, largest: 1}
	if additive := s.Measure.Additive(); len(additive) > 0 {
		a.traffic = additive[0] == load.Traffic
	}
	for _, node := range s.Nodes {
		for vip, held := range node.VIPs {
			a.largest = max(a.largest, a.of(vip, held))
		}
	}
	return a
}

func (a amounts) of(vip string, held load.Held) int64 {
	if a.traffic {
		return a.reading.VIP(vip, held.Since) / megabit
	}
	return held.Weight
}

// share is a node's own share, before any loss.
func (a amounts) share(name string, node load.Node) share {
	s := share{amount: node.Load, capacity: max(1, node.Capacity)}
	if a.traffic {
		s.amount, s.noisy = a.reading.Figures(name, node).Traffic/megabit, true
	}
	return s
}

// share is how much a node carries, for its capacity.
type share struct {
	amount, capacity int64
	noisy            bool // it was measured
}

func (s share) plus(amount int64) share {
	s.amount += amount
	return s
}

// compare is exact: amounts are below 2^43 (a million VIPs of weight 1000 are below 2^30, an exabit a second in Mbit/s is 2^40), capacities
// below 2^20.
func (s share) compare(other share) int {
	return cmp.Compare(s.amount*other.capacity, other.amount*s.capacity)
}

// gain is by how much the fuller of two nodes, which is the receiver, gets less full when an amount moves to the other, in a unit of the
// two nodes; 0 or less: it doesn't. What was measured must gain a tenth of what is there, so that noise moves nothing, and so that the
// scheduler, which compares in steps of a twentieth, finds a better place too.
func (s share) gain(other share, amount int64) int64 {
	left, there := s.plus(-amount).amount*other.capacity, other.plus(amount).amount*s.capacity
	before := s.amount * other.capacity
	gain := before - max(left, there)
	if s.noisy && gain <= before/10 {
		return 0
	}
	return gain
}

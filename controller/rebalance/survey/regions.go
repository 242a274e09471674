package survey

import (
	"evenkeel.io/evenkeel/controller/rebalance"
)

// regions are the areas of a snapshot, found by node.
type regions struct {
	areas []rebalance.Area
	at    map[string]int
}

func regionsOf(s rebalance.Snapshot) regions {
	r := regions{areas: rebalance.Classify(s), at: map[string]int{}}
	for i := range r.areas {
		for _, share := range r.areas[i].Nodes {
			r.at[share.Node] = i
		}
	}
	return r
}

// of returns a node's area; nil: it is in none.
func (r regions) of(node string) *rebalance.Area {
	i, ok := r.at[node]
	if !ok {
		return nil
	}
	return &r.areas[i]
}

// uneven says whether a pool wants an area evened out: by its own threshold.
func (p *pool) uneven(a *rebalance.Area) bool {
	return a != nil && a.Spread > max(a.Limit, p.policy.Threshold)
}

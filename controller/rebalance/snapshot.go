package rebalance

import (
	"slices"
	"strings"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// MaxCapacity is the largest capacity that counts as such; larger ones count as this. It is that of a Node's annotation.
const MaxCapacity = 1000000

// Snapshot is the cluster at one moment. Plan and Classify don't change it.
type Snapshot struct {
	// Nodes that can announce VIPs, by name.
	Nodes map[string]Node
	// VIPs by name. Those whose active isn't on one of the nodes are left out: they are failover's.
	VIPs map[string]VIP
	// Threshold is the spread up to which an area is left alone, as a weight. It is at least the largest weight of the area.
	Threshold int64
}

// Node is what a node can carry.
type Node struct {
	// Capacity in proportion to the other nodes'; below 1 counts as 1.
	Capacity int64
	// Closed: it takes no VIPs for now (cordoned, suspect, sick, or back for too short a time). It may give some away.
	Closed bool
	// Joined: it joined or came back since VIPs were last evened out, which is then the reason of moves to it.
	Joined bool
}

// VIP is where a VIP is and may be.
type VIP struct {
	// Weight below 1 counts as 1.
	Weight int64
	// Active is the node that announces it, Standbys those that stand by.
	Active   string
	Standbys []string
	// Allowed are the nodes that may announce it, in any order and with or without the active one. VIPs that ask the same of
	// nodes should share one slice: it is read once.
	Allowed []string
	// Held says why it must not be moved; empty: it may be. Its weight counts all the same.
	Held string
	// Traffic in bytes per second; 0 is idle.
	Traffic int64
}

// Reason says why VIPs are moved.
type Reason string

// Reasons of moves.
const (
	// NodeJoined: a node that joined or returned has less than its share.
	NodeJoined Reason = v1alpha1.ReasonNodeJoined
	// Imbalance: deletions, failures or drains have left loads uneven.
	Imbalance Reason = v1alpha1.ReasonImbalance
)

// Move takes a VIP's active place to another node.
type Move struct {
	VIP, From, To string
	// Swap: the VIP's standby is on the target, so that the two change roles, and From stands by afterwards.
	Swap   bool
	Weight int64
	Reason Reason
}

// Standbys are the nodes of a VIP's standbys after the move.
func (m Move) Standbys(before []string) []string {
	after := slices.Clone(before)
	for i, node := range after {
		if node == m.To {
			after[i] = m.From
		}
	}
	return after
}

// Share is what one node carries.
type Share struct {
	Node           string
	Load, Capacity int64
	// VIPs that are active there.
	VIPs   int
	Closed bool
}

// Distribution is the shares of nodes, by name.
type Distribution []Share

// Spread is the weight by which the emptiest node that takes VIPs falls short of the level of the fullest; 0 without such nodes.
// With equal capacities it is the largest load less the smallest.
func (d Distribution) Spread() int64 {
	spread, _, _ := d.extremes()
	return spread
}

// extremes also finds the fullest node, and the one that falls short of it most.
func (d Distribution) extremes() (spread int64, fullest, emptiest int) {
	fullest, emptiest = -1, -1
	for i, s := range d {
		if fullest < 0 || above(s.Load, s.Capacity, d[fullest].Load, d[fullest].Capacity) {
			fullest = i
		}
	}
	for i, s := range d {
		if s.Closed || i == fullest {
			continue
		}
		if short := shortfall(d[fullest].Load, d[fullest].Capacity, s.Load, s.Capacity); emptiest < 0 || short > spread {
			spread, emptiest = short, i
		}
	}
	return spread, fullest, emptiest
}

// above says whether the first level, a load in proportion to a capacity, is higher than the second.
func above(load, capacity, otherLoad, otherCapacity int64) bool {
	return load*otherCapacity > otherLoad*capacity
}

// shortfall is the weight that would bring the other node to the first one's level, rounded up.
func shortfall(load, capacity, otherLoad, otherCapacity int64) int64 {
	return (load*otherCapacity+capacity-1)/capacity - otherLoad
}

// Apply is the snapshot after moves.
func (s Snapshot) Apply(moves ...Move) Snapshot {
	vips := make(map[string]VIP, len(s.VIPs))
	for name, vip := range s.VIPs {
		vips[name] = vip
	}
	for _, m := range moves {
		vip := vips[m.VIP]
		vip.Active, vip.Standbys = m.To, m.Standbys(vip.Standbys)
		vips[m.VIP] = vip
	}
	s.VIPs = vips
	return s
}

// Distribution is what the nodes carry.
func (s Snapshot) Distribution() Distribution {
	d := make(Distribution, 0, len(s.Nodes))
	at := make(map[string]int, len(s.Nodes))
	for name, node := range s.Nodes {
		d = append(d, Share{Node: name, Capacity: capacityOf(node), Closed: node.Closed})
	}
	slices.SortFunc(d, func(a, b Share) int { return strings.Compare(a.Node, b.Node) })
	for i := range d {
		at[d[i].Node] = i
	}
	for _, vip := range s.VIPs {
		if i, ok := at[vip.Active]; ok {
			d[i].Load += max(1, vip.Weight)
			d[i].VIPs++
		}
	}
	return d
}

func capacityOf(n Node) int64 { return min(max(1, n.Capacity), MaxCapacity) }

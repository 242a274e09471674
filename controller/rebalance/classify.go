package rebalance

// Area is a set of nodes between which VIPs may move, directly or over others.
type Area struct {
	// Nodes by name with what they carry.
	Nodes Distribution
	// VIPs that are active there, and how many of them are held.
	VIPs, Held int
	// Spread is how far the nodes differ, as a weight; Limit is up to where that is left alone.
	Spread, Limit int64
	// Fullest and Emptiest are the nodes that differ most; Emptiest may be none.
	Fullest, Emptiest string
	// Uneven: the spread is above the limit. Reason says what left it so.
	Uneven bool
	Reason Reason
}

// Classify says which areas are uneven and why. Areas come in the order of their first nodes' names.
func Classify(s Snapshot) []Area {
	var all []Area
	for _, a := range areas(s) {
		all = append(all, a.classify())
	}
	return all
}

func (a *area) classify() Area {
	spread, fullest, emptiest := a.shares.extremes()
	c := Area{
		Nodes: append(Distribution(nil), a.shares...), VIPs: len(a.vips),
		Spread: spread, Limit: max(a.largest, a.threshold), Fullest: a.nodes[fullest],
	}
	for _, vip := range a.vips {
		if vip.held {
			c.Held++
		}
	}
	if emptiest >= 0 {
		c.Emptiest = a.nodes[emptiest]
	}
	c.Uneven = c.Spread > c.Limit
	if !c.Uneven {
		return c
	}
	c.Reason = Imbalance
	for i, joined := range a.joined {
		if joined && a.open.has(i) && a.falls(i, fullest) > a.largest {
			c.Reason = NodeJoined
		}
	}
	return c
}

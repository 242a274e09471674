package rebalance

// levels says at what level a node takes the unit that brings it to a load. It rises with the load.
type levels func(node int, load int64) int64

// largestLevel leaves room to add and subtract a few levels.
const largestLevel = 1 << 60

// exact tells all levels apart. They are loads in proportion to capacities, made whole numbers: two that differ do so by at least
// 1/(largest capacity)² of a weight. Where that doesn't fit, which takes a load of a million and capacities of a million together,
// levels that are nearer to each other than that count as one.
func (a *area) exact() levels {
	largest := int64(1)
	for _, share := range a.shares {
		largest = max(largest, share.Capacity)
	}
	scale := int64(1)
	for scale < largest*largest && 2*scale <= largestLevel/(a.load+a.largest) {
		scale *= 2
	}
	return func(node int, load int64) int64 { return load * scale / a.shares[node].Capacity }
}

// aroundLine tells apart only what is below, on and above the level up to which the VIPs would fill the nodes if all could be
// anywhere. Few different levels make the flow fast, and its result is as good if it turns out to be even.
func (a *area) aroundLine() levels {
	line := a.line()
	return func(node int, load int64) int64 {
		capacity := a.shares[node].Capacity
		switch {
		case above(line.load, line.capacity, load, capacity):
			return -1
		case above(load, capacity, line.load, line.capacity):
			return 1
		}
		return 0
	}
}

// unit is a place on a node for one more VIP: the load and the node's level that it leads to.
type unit struct {
	load, capacity int64
	left           int // how many more the node could take
}

func (u unit) before(v unit) bool { return above(v.load, v.capacity, u.load, u.capacity) }

// line fills the nodes with the movable VIPs from the bottom up, and returns the last place taken.
func (a *area) line() unit {
	movable := make([]int, len(a.nodes))
	total := 0
	for _, vip := range a.vips {
		if !vip.held {
			movable[vip.home]++
			total++
		}
	}
	var places heap[unit]
	for i, share := range a.shares {
		left := total
		if share.Closed {
			left = movable[i]
		}
		if left > 0 {
			places.push(unit{share.Load - int64(movable[i]-1)*a.largest, share.Capacity, left})
		}
	}
	last := unit{capacity: 1}
	for range total {
		last = places.pop()
		if next := last; next.left > 1 {
			next.load, next.left = next.load+a.largest, next.left-1
			places.push(next)
		}
	}
	return last
}

package rebalance

import (
	"cmp"
	"slices"
)

// cheapest finds the smallest and among those the cheapest set of moves that makes an area of equal weights as even as it can be.
func (a *area) cheapest() []step {
	steps := newFlow(a, a.aroundLine()).solve()
	a.try(steps)
	even := a.even()
	a.undo(steps)
	if even {
		return steps
	}
	return newFlow(a, a.exact()).solve()
}

// flow is the problem as a flow of least cost. Each VIP is a unit: at home for nothing, at a node of one of its standbys for the
// price of a swap, or at another node, by way of its class, for the price of a move. A path takes a unit off a node and brings, over
// any number of VIPs that make room for each other, one to another node. The cost of a path is the level at which its end takes a unit,
// less that at which its beginning gives one, then the prices of the moves. Shortest paths are taken until none gains anything
// (successive shortest paths; all of one length are looked for together, as in the primal-dual method).
//
// The graph's vertices are the nodes, the VIPs and the classes, numbered in this order.
type flow struct {
	*area
	level  levels
	prices prices

	at       []int       // a VIP's node, or byClass
	on       [][]int     // VIPs by the node that they are at, themselves
	inClass  [][]int     // VIPs by the class by way of which they are at a node
	through  [][]portion // which classes bring how many VIPs to a node
	movable  []int64     // units that were at a node at first and aren't held
	given    []int64     // of these: how many a node has given
	taken    []int64     // units that it has taken
	vertices int

	potential []cost
	end       cost // potential of the end of all paths
	distance  []cost
	state     []mark
	// alive are the nodes that may still lead to an end, while paths are taken, by their potentials: shortest paths lead from a class
	// only to nodes of the class's own.
	alive map[cost]set
	queue heap[reached]
}

const byClass = -1

// portion is how many VIPs of a class are at a node.
type portion struct{ class, count int }

// cost is compared by level first.
type cost struct{ level, price int64 }

func (c cost) plus(d cost) cost  { return cost{c.level + d.level, c.price + d.price} }
func (c cost) minus(d cost) cost { return cost{c.level - d.level, c.price - d.price} }
func (c cost) before(d cost) bool {
	return c.level < d.level || c.level == d.level && c.price < d.price
}

// mark is what is known of a vertex while paths are looked for or taken.
type mark uint8

const (
	fresh mark = iota
	queued
	settled
)

// reached is a vertex with the length of a path to it.
type reached struct {
	cost
	vertex int
}

func (r reached) before(s reached) bool {
	return r.cost.before(s.cost) || r.cost == s.cost && r.vertex < s.vertex
}

// prices are such that no number of cheaper moves on one path outweighs a dearer kind: fewest moves, most swaps, least traffic.
type prices struct{ move, apart int64 }

func newPrices(a *area) prices {
	const mostTraffic = 20 // digits of an int64, and one more
	onPath := int64(2*min(len(a.vips), len(a.nodes)+len(a.classes)) + 2)
	apart := mostTraffic * onPath
	return prices{move: (apart + mostTraffic) * onPath, apart: apart}
}

func newFlow(a *area, level levels) *flow {
	n := len(a.nodes)
	f := &flow{
		area: a, level: level, prices: newPrices(a), vertices: n + len(a.vips) + len(a.classes),
		at: make([]int, len(a.vips)), on: make([][]int, n), inClass: make([][]int, len(a.classes)), through: make([][]portion, n),
		movable: make([]int64, n), given: make([]int64, n), taken: make([]int64, n),
	}
	for i, vip := range a.vips {
		f.at[i] = vip.home
		if !vip.held {
			f.on[vip.home] = append(f.on[vip.home], i)
			f.movable[vip.home]++
		}
	}
	f.potential, f.distance, f.state = make([]cost, f.vertices), make([]cost, f.vertices), make([]mark, f.vertices)
	// All costs but those of beginnings and ends are positive or 0 at first; these potentials make those so too.
	var highest, lowest int64
	for i := range n {
		highest = max(highest, -f.beginning(i).level)
		lowest = min(lowest, f.ending(i).level)
	}
	for i := range f.potential {
		f.potential[i] = cost{level: -highest}
	}
	f.end = cost{level: lowest - highest}
	return f
}

// beginning is the cost of a path's beginning at a node.
func (f *flow) beginning(node int) cost {
	return cost{level: -f.level(node, f.shares[node].Load-f.given[node]*f.largest)}
}

// ending is the cost of a path's end at a node.
func (f *flow) ending(node int) cost {
	return cost{level: f.level(node, f.shares[node].Load+(f.taken[node]+1)*f.largest)}
}

// price of a VIP's being at a node itself, or by way of its class.
func (f *flow) price(vip, node int) int64 {
	p := &f.vips[vip]
	switch node {
	case p.home:
		return 0
	case byClass:
		return f.prices.move + f.prices.apart + p.traffic
	}
	return f.prices.move + p.traffic // its standby is there
}

func (f *flow) solve() []step {
	for f.look() && f.take() {
	}
	return f.steps()
}

// look finds the lengths of the shortest paths, up to that of the shortest one to an end, and says whether that one gains anything.
func (f *flow) look() bool {
	clear(f.state)
	f.queue = f.queue[:0]
	for i := range f.nodes {
		if f.given[i] < f.movable[i] {
			f.reach(i, f.beginning(i).minus(f.potential[i]))
		}
	}
	news := map[cost]set{} // nodes that no class of a distance has reached yet
	var nearest cost
	found := false
	for len(f.queue) > 0 {
		top := f.queue.pop()
		if found && !top.cost.before(nearest) {
			break
		}
		u := top.vertex
		if f.state[u] == settled {
			continue
		}
		f.state[u] = settled
		if u < len(f.nodes) {
			if f.open.has(u) {
				if end := top.cost.plus(f.ending(u)).plus(f.potential[u]).minus(f.end); !found || end.before(nearest) {
					nearest, found = end, true
				}
			}
		}
		// Classes that are at one distance reach their nodes at one, too: once is enough.
		length := top.cost.plus(f.potential[u])
		var wanted set
		if u >= len(f.nodes)+len(f.vips) {
			if news[length] == nil {
				news[length] = newSet(len(f.nodes)).fill(len(f.nodes))
			}
			wanted = news[length]
		}
		f.neighbours(u, wanted, func(v int, price int64) bool {
			if f.state[v] != settled {
				f.reach(v, top.cost.plus(f.reduced(u, v, price)))
			}
			if v < len(f.nodes) && wanted != nil {
				wanted.remove(v)
			}
			return false
		})
	}
	if !found || !nearest.plus(f.end).before(cost{}) {
		return false
	}
	for u := range f.potential {
		if f.state[u] == settled && f.distance[u].before(nearest) {
			f.potential[u] = f.potential[u].plus(f.distance[u])
		} else {
			f.potential[u] = f.potential[u].plus(nearest)
		}
	}
	f.end = f.end.plus(nearest)
	return true
}

func (f *flow) reach(vertex int, distance cost) {
	if f.state[vertex] == fresh || distance.before(f.distance[vertex]) {
		f.state[vertex], f.distance[vertex] = queued, distance
		f.queue.push(reached{distance, vertex})
	}
}

// reduced is the cost of an edge as potentials leave it: never negative, and 0 on shortest paths.
func (f *flow) reduced(u, v int, price int64) cost {
	return cost{price: price}.plus(f.potential[u]).minus(f.potential[v])
}

// neighbours goes through the edges from a vertex, with their prices, until visit returns true; it returns whether it did. From
// classes only edges to wanted nodes are shown.
func (f *flow) neighbours(u int, wanted set, visit func(v int, price int64) bool) bool {
	firstVIP, firstClass := len(f.nodes), len(f.nodes)+len(f.vips)
	switch {
	case u < firstVIP:
		for _, vip := range f.on[u] {
			if visit(firstVIP+vip, -f.price(vip, u)) {
				return true
			}
		}
		for _, p := range f.through[u] {
			if visit(firstClass+p.class, 0) {
				return true
			}
		}
	case u < firstClass:
		vip := u - firstVIP
		p := &f.vips[vip]
		if f.at[vip] != p.home && visit(p.home, 0) {
			return true
		}
		for _, node := range p.standbys {
			if f.at[vip] != node && visit(node, f.price(vip, node)) {
				return true
			}
		}
		return f.at[vip] != byClass && visit(firstClass+p.class, f.price(vip, byClass))
	default:
		class := u - firstClass
		for node := range f.classes[class].and(wanted) {
			if visit(node, 0) {
				return true
			}
		}
		for _, vip := range f.inClass[class] {
			if visit(firstVIP+vip, -f.price(vip, byClass)) {
				return true
			}
		}
	}
	return false
}

// take moves units along shortest paths until it finds no more of the present length, and says whether it found any.
func (f *flow) take() bool {
	found := false
	clear(f.state)
	f.alive = map[cost]set{}
	for i := range f.nodes {
		if f.alive[f.potential[i]] == nil {
			f.alive[f.potential[i]] = newSet(len(f.nodes))
		}
		f.alive[f.potential[i]].add(i)
	}
	for i := range f.nodes {
		for f.given[i] < f.movable[i] && f.beginning(i) == f.potential[i] && f.state[i] == fresh && f.follow(i) {
			f.given[i]++
			found = true
		}
	}
	return found
}

// follow takes a shortest path from a vertex to an end, if there is one: a vertex that turned out to lead nowhere isn't tried again.
func (f *flow) follow(u int) bool {
	f.state[u] = settled
	if u < len(f.nodes) {
		f.alive[f.potential[u]].remove(u)
		if f.open.has(u) && f.ending(u).plus(f.potential[u]) == f.end {
			f.taken[u]++
			f.state[u] = fresh
			f.alive[f.potential[u]].add(u)
			return true
		}
	}
	next := -1
	if !f.neighbours(u, f.alive[f.potential[u]], func(v int, price int64) bool {
		if f.state[v] == settled || f.reduced(u, v, price) != (cost{}) || !f.follow(v) {
			return false
		}
		next = v
		return true
	}) {
		return false
	}
	f.shift(u, next)
	f.state[u] = fresh
	if u < len(f.nodes) {
		f.alive[f.potential[u]].add(u)
	}
	return true
}

// shift moves a unit along an edge.
func (f *flow) shift(u, v int) {
	firstVIP, firstClass := len(f.nodes), len(f.nodes)+len(f.vips)
	switch {
	case u < firstVIP && v < firstClass:
		f.on[u] = without(f.on[u], v-firstVIP)
	case u < firstVIP:
		f.count(u, v-firstClass, -1)
	case u < firstClass && v < firstVIP:
		f.at[u-firstVIP] = v
		f.on[v] = append(f.on[v], u-firstVIP)
	case u < firstClass:
		f.at[u-firstVIP] = byClass
		f.inClass[v-firstClass] = append(f.inClass[v-firstClass], u-firstVIP)
	case v < firstVIP:
		f.count(v, u-firstClass, 1)
	default:
		f.inClass[u-firstClass] = without(f.inClass[u-firstClass], v-firstVIP)
	}
}

func (f *flow) count(node, class, by int) {
	i := slices.IndexFunc(f.through[node], func(p portion) bool { return p.class == class })
	if i < 0 {
		f.through[node] = append(f.through[node], portion{class, by})
		return
	}
	if f.through[node][i].count += by; f.through[node][i].count == 0 {
		f.through[node] = slices.Delete(f.through[node], i, i+1)
	}
}

func without(list []int, x int) []int {
	i := slices.Index(list, x)
	return slices.Delete(list, i, i+1)
}

// steps reads the moves off the flow. Which VIP of a class goes to which of the class's nodes is all the same to it; they are
// dealt out in order.
func (f *flow) steps() []step {
	var steps []step
	for vip, node := range f.at {
		if node != byClass && node != f.vips[vip].home {
			steps = append(steps, step{vip, node})
		}
	}
	targets := make([][]int, len(f.classes))
	for node, portions := range f.through {
		for _, p := range portions {
			for range p.count {
				targets[p.class] = append(targets[p.class], node)
			}
		}
	}
	for class, vips := range f.inClass {
		slices.Sort(vips)
		for i, vip := range vips {
			steps = append(steps, step{vip, targets[class][i]})
		}
	}
	slices.SortFunc(steps, func(s, t step) int { return cmp.Compare(s.vip, t.vip) })
	return steps
}

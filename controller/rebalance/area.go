package rebalance

import (
	"cmp"
	"encoding/binary"
	"maps"
	"math"
	"slices"
)

// area is a set of nodes between which VIPs may move, directly or over others, with numbers in place of names: nodes and VIPs are
// numbered in the order of their names.
type area struct {
	nodes          []string
	shares         Distribution // of nodes, kept as moves are tried
	open           set          // nodes that take VIPs
	joined         []bool
	vips           []piece
	classes        []set // nodes that VIPs of a class may move to: allowed and open
	largest        int64 // weight of a VIP, held or not
	uniform        bool  // all VIPs have that weight
	threshold      int64
	load, capacity int64 // of all nodes together
}

// piece is a VIP.
type piece struct {
	name     string
	weight   int64
	home     int
	standbys []int // on nodes it may move to
	class    int
	held     bool
	traffic  int64 // in powers of ten: 0 is idle
}

// mayMove says whether a VIP may move to a node.
func (a *area) mayMove(vip, node int) bool {
	p := &a.vips[vip]
	return !p.held && node != p.home && a.classes[p.class].has(node)
}

// move tries a move: loads follow, the VIP's home stays.
func (a *area) move(vip, from, to int) {
	weight := a.vips[vip].weight
	a.shares[from].Load -= weight
	a.shares[from].VIPs--
	a.shares[to].Load += weight
	a.shares[to].VIPs++
}

// falls says by how much a node falls short of another's level.
func (a *area) falls(short, full int) int64 {
	f, s := &a.shares[full], &a.shares[short]
	return shortfall(f.Load, f.Capacity, s.Load, s.Capacity)
}

// even says whether nothing more than the largest weight separates nodes.
func (a *area) even() bool { return a.shares.Spread() <= a.largest }

// areas divides a snapshot. Nodes that no VIP may be on are in none.
func areas(s Snapshot) []*area {
	names := slices.Sorted(maps.Keys(s.Nodes))
	number := make(map[string]int, len(names))
	for i, name := range names {
		number[name] = i
	}
	classes := classesOf(s, number)
	tree := newUnion(len(names))
	for _, class := range classes.sets {
		first := -1
		for node := range class.all() {
			if first < 0 {
				first = node
			}
			tree.join(first, node)
		}
	}
	vips := slices.Sorted(maps.Keys(s.VIPs))
	used := make([]bool, len(names))
	for _, name := range vips {
		home, ok := number[s.VIPs[name].Active]
		if !ok {
			continue
		}
		used[home] = true
		for node := range classes.sets[classes.of[name]].all() {
			tree.join(home, node)
			break // the others are joined to it
		}
	}
	for _, class := range classes.sets {
		for node := range class.all() {
			used[node] = true
		}
	}
	byRoot := map[int]*area{}
	local := make([]int, len(names)) // a node's number in its area
	var all []*area
	for i, name := range names {
		if !used[i] {
			continue
		}
		a := byRoot[tree.root(i)]
		if a == nil {
			a = &area{uniform: true, largest: 1, threshold: s.Threshold}
			byRoot[tree.root(i)] = a
			all = append(all, a)
		}
		local[i] = len(a.nodes)
		node := s.Nodes[name]
		a.nodes = append(a.nodes, name)
		a.joined = append(a.joined, node.Joined)
		a.capacity += capacityOf(node)
		a.shares = append(a.shares, Share{Node: name, Capacity: capacityOf(node), Closed: node.Closed})
	}
	for _, a := range all {
		a.open = newSet(len(a.nodes))
		for i := range a.nodes {
			if !a.shares[i].Closed {
				a.open.add(i)
			}
		}
	}
	known := make(map[int]int) // classes' numbers in their areas
	for _, name := range vips {
		vip := s.VIPs[name]
		home, ok := number[vip.Active]
		if !ok {
			continue
		}
		a := byRoot[tree.root(home)]
		p := piece{name: name, weight: max(1, vip.Weight), home: local[home], held: vip.Held != "", traffic: magnitude(vip.Traffic)}
		wide := classes.of[name]
		class := classes.sets[wide]
		if p.class, ok = known[wide]; !ok || wide == 0 { // the empty class is in every area
			p.class = len(a.classes)
			known[wide] = p.class
			narrow := newSet(len(a.nodes))
			for node := range class.all() {
				if a.open.has(local[node]) {
					narrow.add(local[node])
				}
			}
			a.classes = append(a.classes, narrow)
		}
		for _, standby := range vip.Standbys {
			if node, ok := number[standby]; ok && node != home && class.has(node) && a.open.has(local[node]) {
				p.standbys = append(p.standbys, local[node])
			}
		}
		if len(a.vips) > 0 && p.weight != a.vips[0].weight {
			a.uniform = false
		}
		a.largest = max(a.largest, p.weight)
		if len(a.vips) == 0 {
			a.largest = p.weight
		}
		a.load += p.weight
		a.shares[p.home].Load += p.weight
		a.shares[p.home].VIPs++
		a.vips = append(a.vips, p)
	}
	return slices.DeleteFunc(all, func(a *area) bool { return len(a.vips) == 0 })
}

// classes groups VIPs by the nodes that they are allowed on. Class 0 is allowed nowhere.
type classes struct {
	sets []set
	of   map[string]int
}

func classesOf(s Snapshot, number map[string]int) classes {
	c := classes{sets: []set{newSet(len(number))}, of: make(map[string]int, len(s.VIPs))}
	type shared struct {
		first *string
		size  int
	}
	bySlice, byContent := map[shared]int{}, map[string]int{string(key(c.sets[0])): 0}
	for _, name := range slices.Sorted(maps.Keys(s.VIPs)) {
		allowed := s.VIPs[name].Allowed
		if len(allowed) == 0 {
			c.of[name] = 0
			continue
		}
		same := shared{&allowed[0], len(allowed)}
		class, ok := bySlice[same]
		if !ok {
			nodes := newSet(len(number))
			for _, node := range allowed {
				if i, ok := number[node]; ok {
					nodes.add(i)
				}
			}
			content := string(key(nodes))
			if class, ok = byContent[content]; !ok {
				class = len(c.sets)
				c.sets = append(c.sets, nodes)
				byContent[content] = class
			}
			bySlice[same] = class
		}
		c.of[name] = class
	}
	return c
}

func key(s set) []byte {
	var text []byte
	for _, word := range s {
		text = binary.LittleEndian.AppendUint64(text, word)
	}
	return text
}

// magnitude is how many digits a traffic figure has.
func magnitude(traffic int64) int64 {
	digits := int64(0)
	for ; traffic > 0; traffic /= 10 {
		digits++
	}
	return digits
}

// union is the usual forest of sets that grow together.
type union []int

func newUnion(size int) union {
	u := make(union, size)
	for i := range u {
		u[i] = i
	}
	return u
}

func (u union) root(i int) int {
	for u[i] != i {
		u[i] = u[u[i]]
		i = u[i]
	}
	return i
}

func (u union) join(i, j int) { u[u.root(i)] = u.root(j) }

// compareLevels orders nodes by their level.
func (a *area) compareLevels(i, j int) int {
	s, t := &a.shares[i], &a.shares[j]
	return cmp.Compare(s.Load*t.Capacity, t.Load*s.Capacity)
}

// noNode is no node's number.
const noNode = math.MaxInt

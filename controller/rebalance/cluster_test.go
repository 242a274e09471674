package rebalance

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"pgregory.net/rapid"
)

// nodes are n open nodes of equal capacity.
func nodes(n int) map[string]Node {
	m := make(map[string]Node, n)
	for i := range n {
		m[fmt.Sprintf("node-%04d", i+1)] = Node{Capacity: 1}
	}
	return m
}

// names are a snapshot's nodes, in order.
func names(s Snapshot) []string { return slices.Sorted(maps.Keys(s.Nodes)) }

// placed has VIPs of weight 1, so many on each node in the order of names, allowed everywhere.
func placed(counts ...int) Snapshot {
	s := Snapshot{Nodes: nodes(len(counts)), VIPs: map[string]VIP{}}
	all := names(s)
	for i, count := range counts {
		for range count {
			s.VIPs[fmt.Sprintf("vip-%04d", len(s.VIPs))] = VIP{Weight: 1, Active: all[i], Allowed: all}
		}
	}
	return s
}

// counts are how many VIPs are on each node.
func counts(s Snapshot) []int {
	var list []int
	for _, share := range s.Distribution() {
		list = append(list, share.VIPs)
	}
	return list
}

// aCluster draws a cluster with constraints, capacities, closed nodes and held VIPs. Weights are drawn from the given ones.
func aCluster(t *rapid.T, mostNodes, mostVIPs int, weights []int64) Snapshot {
	s := Snapshot{Nodes: nodes(rapid.IntRange(1, mostNodes).Draw(t, "nodes")), VIPs: map[string]VIP{}}
	all := names(s)
	capacities := rapid.SampledFrom([][]int64{{1}, {1}, {1, 2}, {0, 3, 7, 10}, {1000, 25000, 1000000}}).Draw(t, "capacities")
	for _, name := range all {
		s.Nodes[name] = Node{
			Capacity: rapid.SampledFrom(capacities).Draw(t, "capacity"),
			Closed:   rapid.IntRange(0, 7).Draw(t, "closed") == 0,
			Joined:   rapid.Bool().Draw(t, "joined"),
		}
	}
	groups := [][]string{all, all, {}}
	for range rapid.IntRange(0, 3).Draw(t, "groups") {
		groups = append(groups, slices.Clone(rapid.SliceOfDistinct(rapid.SampledFrom(all), rapid.ID).Draw(t, "group")))
	}
	free := rapid.Bool().Draw(t, "free")
	crowded := rapid.SampledFrom(all).Draw(t, "crowded")
	for i := range rapid.IntRange(0, mostVIPs).Draw(t, "vips") {
		vip := VIP{
			Weight: rapid.SampledFrom(weights).Draw(t, "weight"), Active: rapid.SampledFrom(all).Draw(t, "active"), Allowed: all,
			Traffic: rapid.SampledFrom([]int64{0, 0, 5, 1000, 1 << 40}).Draw(t, "traffic"),
		}
		if rapid.Bool().Draw(t, "there") {
			vip.Active = crowded
		}
		if !free {
			vip.Allowed = rapid.SampledFrom(groups).Draw(t, "allowed")
			if rapid.IntRange(0, 9).Draw(t, "held") == 0 {
				vip.Held = "cooling down"
			}
		}
		for range rapid.IntRange(0, 2).Draw(t, "standbys") {
			if node := rapid.SampledFrom(all).Draw(t, "standby"); node != vip.Active && !slices.Contains(vip.Standbys, node) {
				vip.Standbys = append(vip.Standbys, node)
			}
		}
		s.VIPs[fmt.Sprintf("vip-%04d", i)] = vip
	}
	return s
}

// large is a cluster of which a part of the nodes has just joined, or that has lived for long.
func large(nodeCount, vipCount, empty int, change func(r *rand.Rand, i int, vip *VIP, all []string)) Snapshot {
	r := rand.New(rand.NewPCG(1, 2))
	s := Snapshot{Nodes: nodes(nodeCount), VIPs: make(map[string]VIP, vipCount)}
	all := names(s)
	used := all[empty:]
	for i := range vipCount {
		vip := VIP{Weight: 1, Active: used[r.IntN(len(used))], Allowed: all}
		if standby := all[r.IntN(len(all))]; standby != vip.Active {
			vip.Standbys = []string{standby}
		}
		if r.IntN(2) == 0 {
			vip.Traffic = 1 << r.IntN(30)
		}
		if change != nil {
			change(r, i, &vip, all)
		}
		s.VIPs[fmt.Sprintf("vip-%05d", i)] = vip
	}
	return s
}

// some are n neighbouring nodes.
func some(all []string, first, n int) []string {
	list := make([]string, 0, n)
	for i := range n {
		list = append(list, all[(first+i)%len(all)])
	}
	return list
}

var sizes = []struct {
	name  string
	build func() Snapshot
}{
	{"half of the nodes joined", func() Snapshot { return large(1000, 5000, 500, nil) }},
	{"one node joined", func() Snapshot { return large(1000, 5000, 1, nil) }},
	{"all on one node", func() Snapshot { return large(1000, 5000, 999, nil) }},
	{"50 segments", func() Snapshot {
		var segments [][]string
		return large(1000, 5000, 500, func(_ *rand.Rand, i int, vip *VIP, all []string) {
			for len(segments) < 50 {
				segments = append(segments, some(all, 20*len(segments), 20))
			}
			vip.Allowed = segments[i%50]
		})
	}},
	{"every VIP has its own 20 nodes", func() Snapshot {
		return large(1000, 5000, 500, func(r *rand.Rand, _ int, vip *VIP, all []string) { vip.Allowed = some(all, r.IntN(1000), 20) })
	}},
	{"every VIP has its own 900 nodes", func() Snapshot {
		return large(1000, 5000, 500, func(r *rand.Rand, _ int, vip *VIP, all []string) {
			first := r.IntN(1000)
			vip.Allowed = append(some(all, first, 800+r.IntN(50)), some(all, first+850+r.IntN(40), 100)...)
		})
	}},
	{"every other VIP may be on 100 nodes only", func() Snapshot {
		var few []string
		return large(1000, 5000, 500, func(_ *rand.Rand, i int, vip *VIP, all []string) {
			if few == nil {
				few = all[450:550]
			}
			if i%2 == 0 {
				vip.Allowed = few
			}
		})
	}},
	{"capacities of 1 to 40, every other VIP may be on 100 nodes only", func() Snapshot {
		var few []string
		s := large(1000, 5000, 500, func(_ *rand.Rand, i int, vip *VIP, all []string) {
			if few == nil {
				few = all[450:550]
			}
			if i%2 == 0 {
				vip.Allowed = few
			}
		})
		for i, name := range names(s) {
			s.Nodes[name] = Node{Capacity: int64(1 + i*7%40)}
		}
		return s
	}},
	{"capacities of 1 to 40", func() Snapshot {
		s := large(1000, 5000, 500, nil)
		for i, name := range names(s) {
			s.Nodes[name] = Node{Capacity: int64(1 + i*7%40)}
		}
		return s
	}},
	{"capacities, every VIP has its own 20 nodes", func() Snapshot {
		s := large(1000, 5000, 500, func(r *rand.Rand, _ int, vip *VIP, all []string) { vip.Allowed = some(all, r.IntN(1000), 20) })
		for i, name := range names(s) {
			s.Nodes[name] = Node{Capacity: int64(1 + i*7%40)}
		}
		return s
	}},
	{"weights of 1 to 10", func() Snapshot {
		return large(1000, 5000, 500, func(r *rand.Rand, _ int, vip *VIP, _ []string) { vip.Weight = 1 + r.Int64N(10) })
	}},
	{"weights, every VIP has its own 20 nodes", func() Snapshot {
		return large(1000, 5000, 500, func(r *rand.Rand, _ int, vip *VIP, all []string) {
			vip.Weight, vip.Allowed = 1+r.Int64N(10), some(all, r.IntN(1000), 20)
		})
	}},
}

package scenario

import (
	"net/netip"
	"slices"
	"testing"
)

func TestRivalsPlaceEverything(t *testing.T) {
	var vips []Weighted
	var total int64
	address := netip.MustParseAddr("192.0.2.10")
	for i := range int64(40) {
		vips, total, address = append(vips, Weighted{address, i%10 + 1}), total+i%10+1, address.Next()
	}
	nodes := []string{"node-1", "node-2", "node-3", "node-4"}
	for name, s := range map[string]Spreading{"by hash": ByHash(vips, nodes), "at random": AtRandom(vips, nodes, 1)} {
		var sum int64
		for _, load := range s.PerNode {
			sum += load
		}
		if sum != total || s.MaxMin != slices.Max(s.PerNode)-slices.Min(s.PerNode) {
			t.Errorf("%s: %+v, of a weight of %d", name, s, total)
		}
	}
	turned := slices.Clone(nodes)
	slices.Reverse(turned)
	got := ByHash(vips, turned).PerNode
	slices.Reverse(got)
	if want := ByHash(vips, nodes).PerNode; !slices.Equal(got, want) {
		t.Errorf("the order of the nodes matters: %v, %v", got, want)
	}
}

func TestWeightedAfterLoss(t *testing.T) {
	found := map[string]places{
		"a": {active: "n1", standbys: []string{"n2"}}, "b": {active: "n1", standbys: []string{"n3"}}, "c": {active: "n2", standbys: []string{"n1"}},
	}
	got := weightedAfterLoss(found, map[string]int64{"a": 5, "b": 2, "c": 1}, "n1", []string{"n2", "n3"})
	if !slices.Equal(got.PerNode, []int64{6, 2}) || got.MaxMin != 4 {
		t.Errorf("got %+v", got)
	}
}

package rebalance

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// world is a cluster over days: VIPs leave a node that is drained or lost, and plans even out what is left when it is back.
type world struct {
	Snapshot
	moves int // of VIPs, whatever the reason
}

func newWorld(nodeCount, vips int) *world {
	w := &world{Snapshot: Snapshot{Nodes: nodes(nodeCount), VIPs: map[string]VIP{}}}
	all := names(w.Snapshot)
	for i := range vips {
		w.VIPs[fmt.Sprintf("192.0.2.%d", i+10)] = VIP{Weight: 1, Active: all[i%nodeCount], Allowed: all}
	}
	return w
}

// away closes a node and places its VIPs as the scheduler does: each on the least-loaded of the others.
func (w *world) away(node string) {
	w.Nodes[node] = Node{Capacity: 1, Closed: true}
	for _, name := range sortedVIPs(w.Snapshot) {
		if w.VIPs[name].Active != node {
			continue
		}
		var least Share
		for _, share := range w.Distribution() {
			if !share.Closed && (least.Node == "" || share.Load < least.Load) {
				least = share
			}
		}
		w.Snapshot = w.Apply(Move{VIP: name, From: node, To: least.Node})
		w.moves++
	}
}

// back opens a node again and carries a plan out.
func (w *world) back(node string) {
	w.Nodes[node] = Node{Capacity: 1, Joined: true}
	p := Plan(w.Snapshot)
	w.Snapshot = w.Apply(p.Moves...)
	w.moves += len(p.Moves)
	w.Nodes[node] = Node{Capacity: 1}
}

func sortedVIPs(s Snapshot) []string {
	list := make([]string, 0, len(s.VIPs))
	for name := range s.VIPs {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// byHash is where MetalLB's layer 2 mode announces an address: of the nodes that are there, sorted by the hash of the node's and the
// address's names, the first one does (speaker/layer2_controller.go, ShouldAnnounce).
func byHash(vip string, there []string) string {
	return slices.MinFunc(there, func(a, b string) int {
		x, y := sha256.Sum256([]byte(a+"#"+vip)), sha256.Sum256([]byte(b+"#"+vip))
		return slices.Compare(x[:], y[:])
	})
}

// A month of maintenance: each of three nodes is drained and comes back, every day. kube-vip's leases, which nothing moves back,
// were at 20/10/0 after one loss and return (measured, see README).
func TestAMonthOfMaintenance(t *testing.T) {
	w := newWorld(3, 30)
	drains := 0
	for range 30 {
		for _, node := range names(w.Snapshot) {
			w.away(node)
			if got := counts(w.Snapshot); slices.Max(got) > 15 {
				t.Fatalf("while %s is away: %v", node, got)
			}
			w.back(node)
			drains++
			if got := counts(w.Snapshot); !slices.Equal(got, []int{10, 10, 10}) {
				t.Fatalf("after %s is back: %v, want 10 each", node, got)
			}
		}
	}
	// A node's ten must leave it, and ten must come back to it.
	if w.moves != 20*drains {
		t.Errorf("%d moves for %d drains, want 20 each", w.moves, drains)
	}
	t.Logf("30 VIPs, 3 nodes, %d drains: %v after each of them (kube-vip: 20/10/0), %d moves", drains, counts(w.Snapshot), w.moves)
}

// A node of five is lost and returns, twenty times.
func TestLossesAndReturnsMoveAsLittleAsPossible(t *testing.T) {
	const vips, times = 50, 20
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(5, vips)
		all := names(w.Snapshot)
		least, hash, worstHash := 0, 0, 0
		owners := func(there []string) map[string]string {
			m := map[string]string{}
			for vip := range w.VIPs {
				m[vip] = byHash(vip, there)
			}
			return m
		}
		changes := func(before, after map[string]string) int {
			n := 0
			perNode := map[string]int{}
			for vip, node := range after {
				perNode[node]++
				if before[vip] != node {
					n++
				}
			}
			for _, count := range perNode {
				worstHash = max(worstHash, count)
			}
			return n
		}
		announcing := owners(all)
		for range times {
			node := all[r.IntN(len(all))]
			least += counts(w.Snapshot)[slices.Index(all, node)] // those must leave
			w.away(node)
			least += vips / len(all) // to be even again, so many must come
			w.back(node)
			others := owners(slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == node }))
			hash += changes(announcing, others)
			hash += changes(others, announcing)
			if got := w.Distribution().Spread(); got > 1 {
				t.Fatalf("a spread of %d is left", got)
			}
		}
		if w.moves != least {
			t.Errorf("%d moves, the least possible is %d", w.moves, least)
		}
		t.Logf("%d VIPs, 5 nodes, %d losses and returns: %d moves, at least %d are needed to be even each time (%v); a hash: %d moves, up to %d VIPs on a node",
			vips, times, w.moves, least, counts(w.Snapshot), hash, worstHash)
	}
}

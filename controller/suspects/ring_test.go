package suspects

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// node has a NIC on each of two segments; carriers are theirs.
func node(name, digit string, carriers ...bool) v1alpha1.VIPNode {
	return v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
		{Name: "eth0", MAC: "02:00:00:00:00:0" + digit, Carrier: carriers[0], Addresses: []string{"192.0.2.10" + digit + "/24"}},
		{Name: "eth1", MAC: "02:00:00:00:01:0" + digit, Carrier: carriers[1], Addresses: []string{"203.0.113.10" + digit + "/24"}},
	}}}
}

func TestANeighbourIsWatchedBehindANICThatWorks(t *testing.T) {
	for _, tt := range []struct {
		name         string
		ours, theirs v1alpha1.VIPNode
		want         string
	}{
		{"the first by name", node("a", "1", true, true), node("b", "2", true, true), "192.0.2.102"},
		{"theirs has no carrier on the first", node("a", "1", true, true), node("b", "2", false, true), "203.0.113.102"},
		{"ours has none", node("a", "1", false, true), node("b", "2", true, true), "203.0.113.102"},
		{"no NIC works at both ends: the first, as before", node("a", "1", true, false), node("b", "2", false, true), "192.0.2.102"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Neighbours("a", []v1alpha1.VIPNode{tt.ours, tt.theirs})
			if len(got) != 1 || got[0].Address != tt.want {
				t.Fatalf("neighbours = %v, want %s", got, tt.want)
			}
			if tt.want == "203.0.113.102" && got[0].MAC != "02:00:00:00:01:02" {
				t.Errorf("MAC = %s, want that of the same NIC", got[0].MAC)
			}
		})
	}
}

func TestASilenceBehindTheNICThatIsWatchedNoLongerDoesNotCount(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	r := &Reconciler{Clock: clock}
	told := func(address string) []v1alpha1.Neighbour { return []v1alpha1.Neighbour{{Node: "b", Address: address}} }
	self := node("a", "1", true, true)
	expect := func(what string, next []v1alpha1.Neighbour, want string, again time.Duration) {
		t.Helper()
		silent, wait := r.current(&self, next)
		self.Spec.Neighbours = next
		if got := strings.Join(silent, " "); got != want || wait != again {
			t.Errorf("%s: %q count and the others again in %s, want %q and %s", what, got, wait, want, again)
		}
	}
	expect("all is well", told("192.0.2.102"), "", 0)
	self.Status.SilentNeighbours = []string{"b"}
	expect("it is silent", told("192.0.2.102"), "b", 0)
	self.Status.SilentNeighbours = nil
	expect("the NIC loses its carrier", told("203.0.113.102"), "", 0)
	self.Status.SilentNeighbours = []string{"b", "c"}
	clock.Step(2 * time.Second)
	expect("whose silence is noticed, and another node's", told("203.0.113.102"), "c", toldWithin-2*time.Second)
	clock.Step(toldWithin - 2*time.Second)
	expect("behind the other NIC it is silent too", told("203.0.113.102"), "b c", 0)
	expect("the carrier is back before it was heard again", told("192.0.2.102"), "c", toldWithin)
	if len(r.rewired) != 1 {
		t.Errorf("%d remembered, want one", len(r.rewired))
	}
	clock.Step(toldWithin)
	self.Status.SilentNeighbours = nil
	expect("it is heard again", told("192.0.2.102"), "", 0)
	if len(r.rewired) != 0 {
		t.Errorf("%d remembered, want none", len(r.rewired))
	}
}

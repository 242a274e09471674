// Package failover decides what becomes of a VIP's placeholders when nodes fall silent, drain, come back or may no longer
// announce it: who becomes active, where another placeholder is due, which ones go, and which nodes are suspect. Deciding is
// a function of values; package vip carries it out.
package failover

import (
	"time"

	"evenkeel.io/evenkeel/api/eligible"
)

// View is a VIP as the API shows it.
type View struct {
	// Live is the active placeholder with the highest term that hasn't ended; nil: there is none.
	Live *Pod
	// Surplus are other actives that haven't ended: whom Live is about to replace.
	Surplus []Pod
	// Standbys that haven't ended, in order of succession.
	Standbys []Pod
	// Ending are nodes where a placeholder is about to go and still stands.
	Ending []string
	// Wanted is how many standbys the VIP is to have.
	Wanted int
	// Nodes that have an announcer or had one, by name.
	Nodes map[string]Node
	// Unserved: its Services' traffic policy is Local, and no node at all has an endpoint of theirs.
	Unserved bool
	// Wish is a planned move that was asked for; nil: none was.
	Wish *Wish
	// Hold: so many nodes fell silent at once that nothing is replaced for now, but for VIPs that would be without any place.
	Hold bool
}

// Pod is a placeholder.
type Pod struct {
	Name string
	// Node that it is bound to; empty while it waits for one.
	Node string
	// Target is the only node that it may be bound to; empty: any may.
	Target string
	// Age since it was created.
	Age time.Duration
	// Ready and Announced as its announcer reports them, Reported whether it ever did.
	Ready, Announced, Reported bool
	// TookOver: it announces as a standby whose active fell silent, as far as its announcer knows.
	TookOver bool
	// Superseded is for how long it has given way to another node's claim; 0: it hasn't.
	Superseded time.Duration
	// Overdue: it has not reported for longer than an announcer that works would need.
	Overdue bool
	// Leaving: another standby is to take its place.
	Leaving bool
}

// Node is what matters of a node to one VIP.
type Node struct {
	// Able to announce it; else Why says in a word what is amiss.
	Able bool
	Why  string
	// Sick: able, but what serves the Services there doesn't work, or the Node hasn't been ready for a while.
	Sick bool
	// Closed to new placements: cordoned, or tainted.
	Closed bool
	// Suspicion is the reason of the suspicion against it, for Suspected so far; empty without one.
	Suspicion string
	Suspected time.Duration
}

// Reasons of a suspicion.
const (
	// FellSilent: its VIPs were taken over, or its neighbours no longer hear it.
	FellSilent = "FellSilent"
	// NoReport: a placeholder there has not been reported on.
	NoReport = "NoReport"
)

// NotSelected is why a node isn't able to announce a VIP that could, were it selected by the VIP's pool and its Service.
const NotSelected = "NotSelected"

// NoEndpoint is why a node can't announce a VIP that lacks nothing but endpoints of the VIP's Services, whose traffic policy is Local.
const NoEndpoint = "NoEndpoint"

func (n Node) unserved() bool { return n.Why == NoEndpoint }

// fit: the VIP can be there, though new ones may not be placed there.
func (n Node) fit() bool { return n.Able && !n.Sick && n.Suspicion == "" }

// open: a new placeholder may be placed there.
func (n Node) open() bool { return n.fit() && !n.Closed }

func (n Node) silent() bool { return n.Suspicion == FellSilent }

// unplugged: it says itself that no NIC of it can announce the VIP at present, so that its silence says nothing of its other NICs.
func (n Node) unplugged() bool {
	switch eligible.Refusal(n.Why) {
	case eligible.NoCarrier, eligible.NoInterface, eligible.NoSubnet:
		return true
	}
	return false
}

// node returns what is known of a node. One that nothing is known of has no announcer.
func (v View) node(name string) Node {
	n, ok := v.Nodes[name]
	if !ok {
		return Node{Why: "NoAnnouncer"}
	}
	return n
}

// free counts the nodes where another placeholder may be placed.
func (v View) free() int {
	taken := map[string]bool{}
	if v.Live != nil {
		taken[v.Live.Node] = true
	}
	for _, pod := range append(append([]Pod{}, v.Surplus...), v.Standbys...) {
		taken[pod.Node] = true
	}
	for _, node := range v.Ending {
		taken[node] = true
	}
	free := 0
	for name, node := range v.Nodes {
		if node.open() && !taken[name] {
			free++
		}
	}
	return free
}

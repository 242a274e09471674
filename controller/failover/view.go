// Package failover decides what becomes of a VIP's placeholders when nodes fall silent, drain, come back or may no longer
// announce it: who becomes active, where another placeholder is due, which ones go, and which nodes are suspect. Deciding is
// a function of values; package vip carries it out.
package failover

import "time"

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

// fit: the VIP can be there, though new ones may not be placed there.
func (n Node) fit() bool { return n.Able && !n.Sick && n.Suspicion == "" }

// open: a new placeholder may be placed there.
func (n Node) open() bool { return n.fit() && !n.Closed }

func (n Node) silent() bool { return n.Suspicion == FellSilent }

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

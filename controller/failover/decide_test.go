package failover

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// Pods of the tables: an active on a, standbys on b and c.
func announcing(node string) *Pod {
	return &Pod{Name: "active-" + node, Node: node, Age: time.Hour, Ready: true, Announced: true, Reported: true}
}

func guarding(node string) Pod {
	return Pod{Name: "standby-" + node, Node: node, Age: time.Hour, Ready: true, Reported: true}
}

func tookOver(node string) Pod {
	p := guarding(node)
	p.Announced, p.TookOver = true, true
	return p
}

func silentOn(node string) Pod {
	return Pod{Name: "standby-" + node, Node: node, Age: time.Hour, Reported: true}
}

func waiting(name string) Pod { return Pod{Name: name, Age: time.Minute} }

func leaving(p Pod) Pod { p.Leaving = true; return p }

var (
	good      = Node{Able: true}
	closed    = Node{Able: true, Closed: true}
	sick      = Node{Able: true, Sick: true}
	unable    = Node{Why: "NoCarrier"}
	evacuated = Node{Why: WhyEvacuated}
	silent    = Node{Able: true, Suspicion: FellSilent, Suspected: time.Minute}
	justNow   = Node{Able: true, Suspicion: FellSilent, Suspected: time.Second}
	mute      = Node{Able: true, Suspicion: NoReport, Suspected: time.Minute}
)

func nodes(a, b, c Node) map[string]Node { return map[string]Node{"a": a, "b": b, "c": c} }

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		view View
		want Decision
	}{
		"all is well": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, good, good)}, Decision{}},
		"a standby that took over becomes active, and the node it took over from suspect": {
			View{Live: announcing("a"), Standbys: []Pod{tookOver("b")}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeSilent, Suspect: map[string]string{"a": FellSilent}}},
		"one whose NIC has lost its carrier isn't: it says so itself, and its other NICs may work": {
			View{Live: announcing("a"), Standbys: []Pod{tookOver("b")}, Wanted: 1, Nodes: nodes(unable, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeSilent}},
		"of two that took over the one further down the succession is it": {
			View{Live: announcing("a"), Standbys: []Pod{tookOver("b"), tookOver("c")}, Wanted: 2, Nodes: nodes(silent, good, good)},
			Decision{Promote: "standby-c", Why: WhyNodeSilent}},
		"a takeover makes a node that was mute before a silent one": {
			View{Live: announcing("a"), Standbys: []Pod{tookOver("b")}, Wanted: 1, Nodes: nodes(mute, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeSilent, Suspect: map[string]string{"a": FellSilent}}},
		"once the new active has confirmed, the old one goes at once and another standby comes": {
			View{Live: announcing("b"), Surplus: []Pod{*announcing("a")}, Wanted: 1, Nodes: nodes(silent, good, good)},
			Decision{CreateStandbys: 1, Delete: map[string]bool{"active-a": true}}},
		"before it has confirmed, the old one stays": {
			View{Live: &Pod{Name: "standby-b", Node: "b", Ready: true, Announced: true, Reported: true, TookOver: true}, Surplus: []Pod{*announcing("a")}, Wanted: 1, Nodes: nodes(silent, good, good)},
			Decision{}},

		"an evicted active is succeeded by its standby": {
			View{Standbys: []Pod{guarding("b")}, Ending: []string{"a"}, Wanted: 1, Nodes: nodes(closed, good, good)},
			Decision{Promote: "standby-b", Why: WhyDeleted}},
		"an evicted active without a standby is succeeded by a new placeholder": {
			View{Ending: []string{"a"}, Wanted: 1, Nodes: nodes(closed, good, good)},
			Decision{CreateActive: true, Why: WhyDeleted}},
		"with the standby's node cordoned too a third node is it": {
			View{Standbys: []Pod{guarding("b")}, Ending: []string{"a"}, Wanted: 1, Nodes: nodes(closed, closed, good)},
			Decision{CreateActive: true, Why: WhyDeleted}},
		"with all other nodes cordoned the standby is it all the same": {
			View{Standbys: []Pod{guarding("b")}, Ending: []string{"a"}, Wanted: 1, Nodes: nodes(closed, closed, closed)},
			Decision{Promote: "standby-b", Why: WhyDeleted}},
		"of two standbys the one on guard succeeds": {
			View{Standbys: []Pod{silentOn("b"), guarding("c")}, Wanted: 2, Nodes: nodes(closed, good, good)},
			Decision{Promote: "standby-c", Why: WhyDeleted}},
		"a standby on a suspect node succeeds nobody": {
			View{Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(closed, silent, good)},
			Decision{CreateActive: true, Why: WhyDeleted}},
		"on the only node a new placeholder waits for it to be open again": {
			View{Ending: []string{"a"}, Wanted: 1, Nodes: map[string]Node{"a": closed}},
			Decision{CreateActive: true, Why: WhyDeleted}},
		"where the scheduler finds no node for the new one, a standby that wasn't the first choice is it": {
			View{Live: &Pod{Name: "new", Age: 3 * time.Second}, Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(closed, closed, good)},
			Decision{Promote: "standby-b", Why: WhyUnplaced}},
		"the scheduler is given a moment": {
			View{Live: &Pod{Name: "new", Age: time.Second}, Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(closed, closed, good)},
			Decision{Again: time.Second}},

		"a cordon moves nothing": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(closed, closed, good)}, Decision{}},
		"a node that may no longer announce is left for the standby": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(unable, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeUnfit}},
		"without a standby on guard it is left for a new placeholder": {
			View{Live: announcing("a"), Standbys: []Pod{silentOn("b")}, Wanted: 1, Nodes: nodes(unable, good, good)},
			Decision{CreateActive: true, Why: WhyNodeUnfit}},
		"an evacuated node is left in turn": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(evacuated, good, good)},
			Decision{Promote: "standby-b", Why: WhyEvacuated, Paced: true}},
		"so that its standbys are elsewhere before they go": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, evacuated, good)},
			Decision{CreateStandbys: 1}},
		"an evacuated node is not left for another one": {
			View{Live: announcing("a"), Wanted: 0, Nodes: nodes(evacuated, evacuated, closed)}, Decision{Paced: true}},
		"it is not left for nowhere": {
			View{Live: announcing("a"), Wanted: 1, Nodes: nodes(unable, closed, sick)}, Decision{}},
		"a sick node is left in turn": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(sick, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeSick, Paced: true}},
		"where all are sick nothing moves": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(sick, sick, sick)}, Decision{Paced: true}},
		"a move under way is waited for": {
			View{Live: &Pod{Name: "new", Node: "c"}, Surplus: []Pod{*announcing("a")}, Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(unable, good, good)},
			Decision{}},
		"one that comes to nothing goes back": {
			View{Live: &Pod{Name: "new", Node: "c"}, Surplus: []Pod{*announcing("a")}, Wanted: 1, Nodes: nodes(good, good, mute)},
			Decision{Promote: "active-a", Why: WhyRolledBack}},

		"a standby on guard takes over from a silent node by itself": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(justNow, good, good)},
			Decision{Again: 2 * time.Second}},
		"if it doesn't, it is told to": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(silent, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeSilent}},
		"with the standby's node silent too a new placeholder is made at once": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(justNow, justNow, good)},
			Decision{CreateActive: true, Why: WhyNodeSilent}},
		"and that although nothing else is replaced": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(justNow, justNow, good), Hold: true},
			Decision{CreateActive: true, Why: WhyNodeSilent}},
		"a mute node keeps what it announces": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(mute, good, good)}, Decision{}},
		"an overdue report makes a node suspect": {
			View{Live: &Pod{Name: "new", Node: "a", Overdue: true}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Suspect: map[string]string{"a": NoReport}}},
		"what a mute node never reported on is placed elsewhere": {
			View{Live: &Pod{Name: "new", Node: "a", Overdue: true}, Wanted: 1, Nodes: nodes(mute, good, good)},
			Decision{CreateActive: true, Why: WhyUnconfirmed}},

		"a missing standby is made": {
			View{Live: announcing("a"), Wanted: 1, Nodes: nodes(good, good, good)}, Decision{CreateStandbys: 1}},
		"no more than there are nodes": {
			View{Live: announcing("a"), Wanted: 2, Nodes: nodes(good, good, closed)}, Decision{CreateStandbys: 1}},
		"none on a single node": {
			View{Live: announcing("a"), Wanted: 1, Nodes: map[string]Node{"a": good}}, Decision{}},
		"none before the active announces": {
			View{Live: &Pod{Name: "new", Node: "a"}, Wanted: 1, Nodes: nodes(good, good, good)}, Decision{}},
		"none while so many nodes are silent that it may be the network": {
			View{Live: announcing("a"), Wanted: 1, Nodes: nodes(good, good, good), Hold: true}, Decision{}},
		"one too many goes: the youngest": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b"), guarding("c")}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Delete: map[string]bool{"standby-c": false}}},
		"one too many goes: the one that doesn't guard": {
			View{Live: announcing("a"), Standbys: []Pod{silentOn("b"), guarding("c")}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Delete: map[string]bool{"standby-b": false}}},
		"one that waits for a node that isn't there goes": {
			View{Live: announcing("a"), Standbys: []Pod{waiting("w")}, Wanted: 1, Nodes: nodes(good, closed, closed)},
			Decision{Delete: map[string]bool{"w": false}}},
		"a standby on a silent node is replaced at once": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, silent, good)},
			Decision{CreateStandbys: 1, NewTerm: true, Delete: map[string]bool{"standby-b": true}}},
		"an active that gave way to nobody that the API knows of gets a new term": {
			View{Live: &Pod{Name: "active-a", Node: "a", Reported: true, Superseded: 3 * time.Second}, Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{NewTerm: true}},
		"after whoever it gave way to had time to report": {
			View{Live: &Pod{Name: "active-a", Node: "a", Reported: true, Superseded: time.Second}, Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Again: 2 * time.Second}},
		"a standby on a sick node stays until another one is on guard": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, sick, good)},
			Decision{CreateStandbys: 1}},
		"and goes then": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b"), guarding("c")}, Wanted: 1, Nodes: nodes(good, sick, good)},
			Decision{Delete: map[string]bool{"standby-b": false}}},
		"a standby that is to leave stays until another one is on guard": {
			View{Live: announcing("a"), Standbys: []Pod{leaving(guarding("b")), silentOn("c")}, Wanted: 1, Nodes: nodes(good, good, good)}, Decision{}},
		"and goes when it is": {
			View{Live: announcing("a"), Standbys: []Pod{leaving(guarding("b")), guarding("c")}, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Delete: map[string]bool{"standby-b": false}}},
		"with none wanted all go": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Nodes: nodes(good, good, good)},
			Decision{Delete: map[string]bool{"standby-b": false}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Decide(tt.view), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuarded(t *testing.T) {
	tests := map[string]struct {
		view   View
		ok     bool
		reason string
	}{
		"a standby is on guard":            {View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, good, good)}, true, "Guarding"},
		"it doesn't guard yet":             {View{Live: announcing("a"), Standbys: []Pod{silentOn("b")}, Wanted: 1, Nodes: nodes(good, good, good)}, false, "StandbyMissing"},
		"its node is suspect":              {View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, mute, good)}, false, "StandbyMissing"},
		"there is no other node":           {View{Live: announcing("a"), Wanted: 1, Nodes: map[string]Node{"a": good}}, false, "SingleNode"},
		"two are wanted and one node left": {View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 2, Nodes: nodes(good, good, closed)}, true, "Guarding"},
		"none is wanted":                   {View{Live: announcing("a"), Nodes: nodes(good, good, good)}, false, "NotWanted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if ok, reason, _ := Guarded(tt.view); ok != tt.ok || reason != tt.reason {
				t.Errorf("got %v %s, want %v %s", ok, reason, tt.ok, tt.reason)
			}
		})
	}
}

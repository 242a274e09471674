package failover

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

var unserved = Node{Why: NoEndpoint}

// ones turns names into what Delete has of them.
func ones(names ...string) map[string]bool {
	set := map[string]bool{}
	for _, name := range names {
		set[name] = false
	}
	return set
}

func TestDecideWithPolicyLocal(t *testing.T) {
	pending := &Pod{Name: "new", Age: time.Hour}
	tests := map[string]struct {
		view View
		want Decision
	}{
		"a node whose endpoints went is left for the standby": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(unserved, good, good)},
			Decision{Promote: "standby-b", Why: WhyEndpoints}},
		"with the standby's gone too it is left for a new placeholder": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(unserved, unserved, good)},
			Decision{CreateActive: true, Why: WhyEndpoints, CreateStandbys: 1}},
		"it is not left for a node that can't have the VIP": {
			View{Live: announcing("a"), Wanted: 1, Nodes: nodes(unserved, unable, closed)}, Decision{}},
		"endpoints elsewhere move nothing": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, good, unserved)}, Decision{}},
		"a silent node is left as ever": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(Node{Why: NoEndpoint, Suspicion: FellSilent, Suspected: time.Minute}, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeSilent}},
		"many that move at once are not held back": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(unserved, good, good), Hold: true},
			Decision{Promote: "standby-b", Why: WhyEndpoints}},

		"a standby without an endpoint stays until another one is on guard": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, unserved, good)},
			Decision{CreateStandbys: 1}},
		"which is waited for": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b"), silentOn("c")}, Wanted: 1, Nodes: nodes(good, unserved, good)}, Decision{}},
		"and then it goes": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b"), guarding("c")}, Wanted: 1, Nodes: nodes(good, unserved, good)},
			Decision{Delete: ones("standby-b")}},
		"it goes at once where none can replace it": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, unserved, unserved)},
			Decision{Delete: ones("standby-b")}},
		"also beside another one that is on guard": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b"), guarding("c")}, Wanted: 2, Nodes: nodes(good, unserved, good)},
			Decision{Delete: ones("standby-b")}},

		"without any endpoint all places go": {
			View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Surplus: []Pod{{Name: "old", Node: "c"}}, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)},
			Decision{Withdraw: true, Delete: ones("active-a", "standby-b", "old")}},
		"on a silent node without waiting for its kubelet": {
			View{Live: announcing("a"), Unserved: true, Nodes: nodes(silent, unserved, unserved)},
			Decision{Withdraw: true, Delete: map[string]bool{"active-a": true}}},
		"then one waits for the scheduler": {
			View{Wanted: 1, Unserved: true, Ending: []string{"a"}, Nodes: nodes(unserved, unserved, unserved)},
			Decision{CreateActive: true, Why: WhyEndpoints}},
		"and goes on waiting": {
			View{Live: pending, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)}, Decision{}},
		"while standbys go": {
			View{Live: pending, Standbys: []Pod{guarding("b")}, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)},
			Decision{Withdraw: true, Delete: ones("standby-b")}},
		"what the scheduler has just placed may have an endpoint that is news to us": {
			View{Live: &Pod{Name: "new", Node: "a"}, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)}, Decision{}},
		"until it is reported on": {
			View{Live: &Pod{Name: "new", Node: "a", Reported: true}, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)},
			Decision{Withdraw: true, Delete: ones("new")}},
		"or should have been": {
			View{Live: &Pod{Name: "new", Node: "a", Overdue: true}, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)},
			Decision{Withdraw: true, Delete: ones("new"), Suspect: map[string]string{"a": NoReport}}},
		"likewise while others have endpoints": {
			View{Live: &Pod{Name: "new", Node: "a"}, Wanted: 1, Nodes: nodes(unserved, good, good)}, Decision{}},
		"and it is left once it is reported on": {
			View{Live: &Pod{Name: "new", Node: "a", Reported: true}, Wanted: 1, Nodes: nodes(unserved, good, good)},
			Decision{CreateActive: true, Why: WhyEndpoints}},
		"a takeover is taken note of before": {
			View{Live: announcing("a"), Standbys: []Pod{tookOver("b")}, Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)},
			Decision{Promote: "standby-b", Why: WhyNodeSilent, Suspect: map[string]string{"a": FellSilent}}},

		"a move that finds no node goes back where its reason is gone": {
			View{Live: pending, Surplus: []Pod{*announcing("a")}, Wanted: 1, Nodes: nodes(good, unserved, unserved)},
			Decision{Promote: "active-a", Why: WhyRolledBack}},
		"after the scheduler had a moment": {
			View{Live: &Pod{Name: "new", Age: 500 * time.Millisecond}, Surplus: []Pod{*announcing("a")}, Wanted: 1, Nodes: nodes(good, unserved, unserved)},
			Decision{Again: 1500 * time.Millisecond}},
		"and not where the reason stands": {
			View{Live: pending, Surplus: []Pod{*announcing("a")}, Wanted: 1, Nodes: nodes(unserved, good, good)}, Decision{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Decide(tt.view), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestGuardedWithPolicyLocal(t *testing.T) {
	tests := map[string]struct {
		view   View
		ok     bool
		reason string
	}{
		"no other node has an endpoint":               {View{Live: announcing("a"), Wanted: 1, Nodes: nodes(good, unserved, unserved)}, false, NoOtherEndpoint},
		"nor has the standby's any more":              {View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, unserved, unserved)}, false, NoOtherEndpoint},
		"another one has, and is about to guard":      {View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 1, Nodes: nodes(good, unserved, good)}, false, "StandbyMissing"},
		"two are wanted, and two nodes have any":      {View{Live: announcing("a"), Standbys: []Pod{guarding("b")}, Wanted: 2, Nodes: nodes(good, good, unserved)}, true, "Guarding"},
		"endpoints would not help where nothing else": {View{Live: announcing("a"), Wanted: 1, Nodes: nodes(good, unable, unable)}, false, "SingleNode"},
		"nobody serves it":                            {View{Live: announcing("a"), Wanted: 1, Unserved: true, Nodes: nodes(unserved, unserved, unserved)}, false, NoEndpoints},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if ok, reason, _ := Guarded(tt.view); ok != tt.ok || reason != tt.reason {
				t.Errorf("got %v %s, want %v %s", ok, reason, tt.ok, tt.reason)
			}
		})
	}
}

// However endpoints are spread: where any node serves, nothing is withdrawn; and who becomes active is on a node that can have it.
func TestNobodyIsPromotedWithoutAnEndpoint(t *testing.T) {
	kinds := []Node{good, closed, sick, unable, unserved}
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Node { return rapid.SampledFrom(kinds).Draw(t, name) }
		v := View{Live: announcing("a"), Standbys: []Pod{guarding("b"), guarding("c")}, Wanted: rapid.IntRange(0, 2).Draw(t, "wanted"),
			Nodes: map[string]Node{"a": draw("a"), "b": draw("b"), "c": draw("c"), "d": draw("d")}}
		d := Decide(v)
		if d.Withdraw {
			t.Fatalf("withdrawn: %+v", d)
		}
		if d.Promote != "" && !v.node(d.Promote[len("standby-"):]).fit() {
			t.Fatalf("%s is promoted on %+v", d.Promote, v.Nodes)
		}
		if v.Nodes["a"] == good && (d.Promote != "" || d.CreateActive) {
			t.Fatalf("a node that lacks nothing is left: %+v", d)
		}
		if _, ok := d.Delete["active-a"]; ok {
			t.Fatalf("the active is deleted: %+v", d)
		}
	})
}

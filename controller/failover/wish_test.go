package failover

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestWishedMoves(t *testing.T) {
	to := func(node string) *Wish { return &Wish{To: node, Why: "User", Age: time.Second} }
	late := func(node string) *Wish { return &Wish{To: node, Why: "User", Age: waitForWish} }
	pinned := func(node, target string, age time.Duration) *Pod {
		return &Pod{Name: "new", Node: node, Target: target, Age: age, Reported: node != ""}
	}
	silentPod := func(node string) *Pod { pod := silentOn(node); return &pod }
	guarded := []Pod{guarding("b")}
	tests := map[string]struct {
		view View
		want Decision
	}{
		"to where a standby guards, roles change": {
			View{Live: announcing("a"), Standbys: guarded, Wanted: 1, Wish: to("b"), Nodes: nodes(good, good, good)},
			Decision{Promote: "standby-b", Why: "User"}},
		"to another node, a new active is placed there": {
			View{Live: announcing("a"), Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{CreateActive: true, On: "c", Why: "User"}},
		"it is done once the node announces": {
			View{Live: announcing("c"), Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{Ended: &WishEnd{Done: true}}},
		"where the node can't take it, it ends": {
			View{Live: announcing("a"), Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, closed)},
			Decision{Ended: &WishEnd{Note: "node c can't take it now (Cordoned or tainted)"}}},
		"a node without an announcer can't": {
			View{Live: announcing("a"), Standbys: guarded, Wanted: 1, Wish: to("z"), Nodes: nodes(good, good, good)},
			Decision{Ended: &WishEnd{Note: "node z can't take it now (NoAnnouncer)"}}},
		"one that takes too long ends": {
			View{Live: announcing("a"), Standbys: guarded, Wanted: 1, Wish: late("c"), Nodes: nodes(good, good, good)},
			Decision{Ended: &WishEnd{Note: "it has not come about for 10 seconds"}}},
		"a standby that doesn't guard yet is waited for": {
			View{Live: announcing("a"), Standbys: []Pod{silentOn("b")}, Wanted: 1, Wish: to("b"), Nodes: nodes(good, good, good)},
			Decision{Again: 9 * time.Second}},
		"what must leave its node leaves first": {
			View{Live: announcing("a"), Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(unable, good, good)},
			Decision{Promote: "standby-b", Why: WhyNodeUnfit}},
		"while the new active waits for its node, the old one holds the VIP": {
			View{Live: pinned("", "c", time.Second), Surplus: []Pod{*announcing("a")}, Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{Again: time.Second}},
		"and has it back where nothing is placed": {
			View{Live: pinned("", "c", waitForNode), Surplus: []Pod{*announcing("a")}, Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{Promote: "active-a", Why: WhyRolledBack, Ended: &WishEnd{Note: unplaceable + "c"}}},
		"also when nobody wishes it any more": {
			View{Live: pinned("", "c", waitForNode), Surplus: []Pod{*announcing("a")}, Standbys: guarded, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Promote: "active-a", Why: WhyRolledBack}},
		"and where the new node doesn't announce": {
			View{Live: pinned("c", "c", waitForWish), Surplus: []Pod{*announcing("a")}, Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{Promote: "active-a", Why: WhyRolledBack, Ended: &WishEnd{Note: "node c does not announce it"}}},
		"it is given time for that": {
			View{Live: pinned("c", "c", time.Second), Surplus: []Pod{*announcing("a")}, Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{Again: waitForWish - time.Second}},
		"with the old node gone meanwhile the standby has it": {
			View{Live: pinned("", "c", waitForNode), Standbys: guarded, Wanted: 1, Wish: to("c"), Nodes: nodes(silent, good, good)},
			Decision{Promote: "standby-b", Why: WhyUnplaced, Ended: &WishEnd{Note: unplaceable + "c"}}},
		"and without a standby any node": {
			View{Live: pinned("", "c", waitForNode), Wanted: 0, Wish: to("c"), Nodes: nodes(silent, good, good)},
			Decision{CreateActive: true, Why: WhyUnplaced, Ended: &WishEnd{Note: unplaceable + "c"}}},
		"a wish for a VIP that nobody announces waits": {
			View{Live: silentPod("a"), Wanted: 1, Wish: to("c"), Nodes: nodes(good, good, good)},
			Decision{Again: expireWish - time.Second}},
		"and ends in the end": {
			View{Live: silentPod("a"), Wanted: 1, Wish: &Wish{To: "c", Why: "User", Age: expireWish}, Nodes: nodes(good, good, good)},
			Decision{Ended: &WishEnd{Note: overdue}}},
		"also where a change of roles came to nothing": {
			View{Live: silentPod("b"), Surplus: []Pod{*announcing("a")}, Wanted: 1, Wish: &Wish{To: "b", Why: "User", Age: expireWish}, Nodes: nodes(good, good, good)},
			Decision{Ended: &WishEnd{Note: overdue}}},
		"after a move back, what was placed for it goes": {
			View{Live: announcing("a"), Surplus: []Pod{*pinned("", "c", time.Minute)}, Standbys: guarded, Wanted: 1, Nodes: nodes(good, good, good)},
			Decision{Delete: map[string]bool{"new": false}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Decide(tt.view), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

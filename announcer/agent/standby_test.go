package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/api/placeholder"
)

var (
	cmpAddr = cmpopts.EquateComparable(netip.Addr{})

	mac1 = place.MAC{2, 0, 0, 0, 0, 1}
	mac2 = place.MAC{2, 0, 0, 0, 0, 2}
	mac3 = place.MAC{2, 0, 0, 0, 0, 3}
	mac4 = place.MAC{2, 0, 0, 0, 0, 4}
)

func peerOn(node string, role placeholder.Role, mac place.MAC) placeholder.Peer {
	return placeholder.Peer{Node: node, Role: role, MACs: []string{mac.String()}}
}

func TestWishOf(t *testing.T) {
	us, second, third := peerOn("node-1", placeholder.Standby, mac1), peerOn("node-2", placeholder.Standby, mac2), peerOn("node-3", placeholder.Active, mac3)
	before := peerOn("node-4", "", mac4)
	set := func(macs ...place.MAC) map[place.MAC]bool {
		all := map[place.MAC]bool{}
		for _, mac := range macs {
			all[mac] = true
		}
		return all
	}
	type want struct {
		Active     place.MAC
		Rank       int
		Successors map[place.MAC]bool
		Peers      map[place.MAC]bool
	}
	tests := []struct {
		name  string
		role  placeholder.Role
		peers []placeholder.Peer
		want  want
	}{
		{"the first standby guards the active, and gives way to the second", placeholder.Standby, []placeholder.Peer{third, us, second, before}, want{mac3, 0, set(mac2), set(mac2, mac3, mac4)}},
		{"the second standby waits for the first, and gives way to nobody", placeholder.Standby, []placeholder.Peer{third, second, us}, want{mac3, 1, set(), set(mac2, mac3)}},
		{"a standby without peers has nobody to guard", placeholder.Standby, nil, want{Successors: set(), Peers: set()}},
		{"an active gives way to every standby", placeholder.Active, []placeholder.Peer{peerOn("node-1", placeholder.Active, mac1), second, before}, want{Successors: set(mac2), Peers: set(mac2, mac4)}},
		{"an active that its peers call a standby gives way to who is active", placeholder.Active, []placeholder.Peer{third, us}, want{Successors: set(mac3), Peers: set(mac3)}},
		{"earlier owners are peers and no successors", placeholder.Active, []placeholder.Peer{before}, want{Successors: set(), Peers: set(mac4)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wish := wishOf(placeholder.Placeholder{Node: "node-1", Role: tt.role, Peers: tt.peers})
			if diff := cmp.Diff(tt.want, want{wish.Active, wish.Rank, wish.Successors, wish.Peers}); diff != "" {
				t.Errorf("wish (-want +got):\n%s", diff)
			}
		})
	}
}

func standbyPod(uid string) *corev1.Pod {
	p := pod(uid, "192.0.2.10")
	p.Labels[placeholder.LabelRole] = "standby"
	p.Annotations[placeholder.AnnotationTerm] = "1"
	p.Annotations[placeholder.AnnotationPeers] = placeholder.FormatPeers([]placeholder.Peer{peerOn("node-3", placeholder.Active, mac3), peerOn("node-1", placeholder.Standby, mac1)})
	return p
}

func (r *rig) event(kind liveness.EventKind) {
	r.Liveness(r.ctx, liveness.Event{Kind: kind, Addr: v4, MAC: mac3, Since: r.clock.Now().Add(-time.Second)})
	r.turn()
}

func TestAStandbyTakesOverAndChasesUntilItIsPromoted(t *testing.T) {
	r := newRig(t)
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, standbyPod("s"))
	r.turn()
	r.guardInForce()
	if got := r.reports["s"]; got.Ready || got.Reason != placeholder.ReasonNotHeard {
		t.Errorf("report = %+v, want NotHeard before the active has answered", got)
	}
	r.event(liveness.Heard)
	if got := r.reports["s"]; !got.Ready || got.Announced || got.Reason != placeholder.ReasonGuarding {
		t.Errorf("report = %+v, want Guarding", got)
	}
	if diff := cmp.Diff([]liveness.Target{{Addr: v4, NIC: "eth0", MAC: mac3}}, r.targets, cmpAddr); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	r.expect()

	r.event(liveness.Silent)
	r.expect("bind 192.0.2.10", "announce 192.0.2.10")
	if got := r.reports["s"]; !got.Ready || !got.Announced || got.Reason != placeholder.ReasonTookOver {
		t.Errorf("report = %+v, want TookOver", got)
	}
	if diff := cmp.Diff([]liveness.Target{{Addr: v4, NIC: "eth0", MAC: mac3, Chase: true}}, r.targets, cmpAddr); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	r.event(liveness.Returned)
	r.expect("defend 192.0.2.10")

	promoted := standbyPod("s")
	promoted.Labels[placeholder.LabelRole] = "active"
	promoted.Annotations[placeholder.AnnotationTerm] = "2"
	promoted.Annotations[placeholder.AnnotationPeers] = placeholder.FormatPeers([]placeholder.Peer{peerOn("node-1", placeholder.Active, mac1)})
	r.PodChanged(r.ctx, promoted)
	r.turn()
	r.expect()
	if got := r.reports["s"]; got.Reason != placeholder.ReasonAnnouncing {
		t.Errorf("report = %+v, want Announcing", got)
	}
	if len(r.targets) != 0 {
		t.Errorf("targets = %v, want none: the API has forgotten the silent node", r.targets)
	}
}

func TestWhatIsGuardedSurvivesARestartWithoutTheAPI(t *testing.T) {
	first := newRig(t)
	first.Synced(first.ctx)
	first.PodChanged(first.ctx, standbyPod("s"))
	first.turn()
	next := newRig(t)
	next.Adopt(next.ctx, Plan(nil, first.saved), first.saved)
	next.turn()
	next.guardInForce()
	if diff := cmp.Diff(first.targets, next.targets, cmpAddr); diff != "" || len(next.targets) != 1 {
		t.Fatalf("targets after the restart (-before +after):\n%s", diff)
	}
	next.event(liveness.Silent)
	next.expect("bind 192.0.2.10", "announce 192.0.2.10")

	third := newRig(t)
	third.Adopt(third.ctx, Plan([]address.Leftover{{Addr: v4, Interface: 7, Name: "eth0", Marked: true}}, next.saved), next.saved)
	third.turn()
	if diff := cmp.Diff(next.targets, third.targets, cmpAddr); diff != "" || len(third.targets) != 1 || !third.targets[0].Chase {
		t.Errorf("targets of the process after the takeover (-before +after):\n%s", diff)
	}
	third.PodChanged(third.ctx, standbyPod("s"))
	third.Synced(third.ctx)
	third.turn()
	third.expect()
	if got := third.saved.VIPs; len(got) != 1 || got[0].Role != string(placeholder.Standby) {
		t.Errorf("saved %+v, want what was taken over", state.State{VIPs: got})
	}
}

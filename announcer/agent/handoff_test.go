package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/api/placeholder"
)

// guarding is a rig that stands by for an address whose active has answered.
func guarding(t *testing.T) *rig {
	r := newRig(t)
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, standbyPod("s"))
	r.turn()
	r.guardInForce()
	r.event(liveness.Heard)
	return r
}

func TestAPromotedStandbyIsBoundOnceConnectionsAreHandedOn(t *testing.T) {
	r := guarding(t)
	if len(r.wish.VIPs) != 1 || r.wish.VIPs[0].Held || !cmp.Equal(r.wish.Peers, []place.MAC{mac3}) {
		t.Errorf("a standby asks for %+v, want a guard, and its peer's MAC", r.wish)
	}

	r.slow = true
	promoted := standbyPod("s")
	promoted.Labels[placeholder.LabelRole] = "active"
	promoted.Annotations[placeholder.AnnotationTerm] = "2"
	owned := peerOn("node-5", placeholder.Standby, place.MAC{2, 0, 0, 0, 0, 5})
	owned.Owned = true
	promoted.Annotations[placeholder.AnnotationPeers] = placeholder.FormatPeers([]placeholder.Peer{
		peerOn("node-1", placeholder.Active, mac1), peerOn("node-2", placeholder.Standby, mac2), owned, peerOn("node-3", "", mac3), peerOn("node-4", "", mac4),
	})
	r.PodChanged(r.ctx, promoted)
	r.turn()
	r.expect()
	vip := r.wish.VIPs[0]
	var earlier []string
	for _, owner := range vip.Earlier {
		earlier = append(earlier, owner.Node)
	}
	if diff := cmp.Diff([]string{"node-5", "node-3", "node-4"}, earlier); diff != "" || !vip.Held || vip.Off || vip.Interface != 7 {
		t.Errorf("asks for %+v, earlier owners (-want +got):\n%s", vip, diff)
	}
	for _, done := range r.handoffs {
		done()
	}
	r.turn()
	r.expect("bind 192.0.2.10", "announce 192.0.2.10")
	if address := r.saved.VIPs[0].Addresses[0]; address.Silenced || address.Peer != mac3.String() {
		t.Errorf("saved %+v: the next process would take node-3 for dead", address)
	}
}

// TestATakeoverDoesNotWaitForABusyKernel: kube-proxy's changes of rules may keep ours waiting for seconds, and nobody answers meanwhile.
func TestATakeoverDoesNotWaitForABusyKernel(t *testing.T) {
	r := guarding(t)
	r.slow = true
	r.event(liveness.Silent)
	r.expect()
	if due := r.bindReady(r.ctx); !due.Equal(r.clock.Now().Add(takeoverPatience)) {
		t.Errorf("the loop comes back at %v, want %v from now", due, takeoverPatience)
	}
	r.clock.Step(takeoverPatience)
	r.turn()
	r.expect("bind 192.0.2.10", "announce 192.0.2.10")
	for _, done := range r.handoffs {
		done()
	}
	r.turn()
	r.expect()
}

func TestAPlannedMoveWaitsForABusyKernel(t *testing.T) {
	r := guarding(t)
	r.slow = true
	promoted := standbyPod("s")
	promoted.Labels[placeholder.LabelRole] = "active"
	promoted.Annotations[placeholder.AnnotationTerm] = "2"
	r.PodChanged(r.ctx, promoted)
	r.turn()
	r.clock.Step(time.Minute)
	r.turn()
	r.expect()
}

func TestWhatASilentNodeServedIsNotHandedOn(t *testing.T) {
	r := guarding(t)
	r.event(liveness.Silent)
	r.expect("bind 192.0.2.10", "announce 192.0.2.10")
	if !r.wish.VIPs[0].Earlier[0].Silent || !r.saved.VIPs[0].Addresses[0].Silenced {
		t.Errorf("asks for %+v and saves %+v, want node-3 to be silent", r.wish, r.saved.VIPs[0])
	}
	r.event(liveness.Returned)
	if r.wish.VIPs[0].Earlier[0].Silent {
		t.Errorf("asks for %+v, though node-3 is back", r.wish)
	}
}

// TestANodeThatLivesServesOn: it may have let go of one address, and what it served of others is handed on all the same.
func TestANodeThatLivesServesOn(t *testing.T) {
	r := guarding(t)
	r.Liveness(r.ctx, liveness.Event{Kind: liveness.Silent, Addr: v4, MAC: mac3, Alive: true})
	r.turn()
	r.verdicts[v4](place.MAC{}, place.MAC{})
	r.turn()
	if vip := r.wish.VIPs[0]; !vip.Held || vip.Earlier[0].Silent {
		t.Errorf("asks for %+v, want what node-3 served to be handed on", vip)
	}
}

func TestAServiceThatRefusesHandoffIsToldOn(t *testing.T) {
	r := newRig(t)
	r.Synced(r.ctx)
	refusing := standbyPod("s")
	refusing.Annotations[placeholder.AnnotationHandoff] = "false"
	r.PodChanged(r.ctx, refusing)
	r.turn()
	if !r.wish.VIPs[0].Off {
		t.Errorf("asks for %+v", r.wish.VIPs[0])
	}
	r.turn()
	if !r.saved.VIPs[0].NoHandoff {
		t.Errorf("saved %+v, want the next process to know", r.saved.VIPs[0])
	}
}

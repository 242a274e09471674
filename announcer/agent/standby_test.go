package agent

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
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
	type want struct {
		Active, Previous place.MAC
		Place            uint8
		Peers            map[place.MAC]uint8
	}
	type peers = map[place.MAC]uint8
	tests := []struct {
		name  string
		role  placeholder.Role
		peers []placeholder.Peer
		want  want
	}{
		{"the first standby guards the active and is second in the succession", placeholder.Standby, []placeholder.Peer{third, us, second, before}, want{mac3, mac4, 2, peers{mac2: 3, mac3: 1, mac4: 0}}},
		{"the second standby is third", placeholder.Standby, []placeholder.Peer{third, second, us}, want{mac3, place.MAC{}, 3, peers{mac2: 2, mac3: 1}}},
		{"a standby that isn't in the list yet is behind all that are", placeholder.Standby, []placeholder.Peer{third, second}, want{mac3, place.MAC{}, 3, peers{mac2: 2, mac3: 1}}},
		{"a standby without peers has nobody to guard", placeholder.Standby, nil, want{Place: 2, Peers: peers{}}},
		{"an active is the first", placeholder.Active, []placeholder.Peer{peerOn("node-1", placeholder.Active, mac1), second, before}, want{place.MAC{}, mac4, 1, peers{mac2: 2, mac4: 0}}},
		{"an active that its peers call a standby has been succeeded", placeholder.Active, []placeholder.Peer{third, us}, want{Place: 0, Peers: peers{mac3: 1}}},
		{"earlier owners are peers", placeholder.Active, []placeholder.Peer{before}, want{place.MAC{}, mac4, 1, peers{mac4: 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wish := wishOf(placeholder.Placeholder{Node: "node-1", Role: tt.role, Peers: tt.peers}, v4)
			if diff := cmp.Diff(tt.want, want{wish.Active, wish.Previous, wish.Place, wish.Peers}); diff != "" {
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
	r.expect("assert 192.0.2.10")
	if want := (place.Title{Term: 1, Place: 2}); r.titles[v4] != want {
		t.Errorf("announced by title %s, want %s", r.titles[v4], want)
	}

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
	if want := (place.Title{Term: 2, Place: 1}); r.titles[v4] != want {
		t.Errorf("announced by title %s after the promotion, want %s", r.titles[v4], want)
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
	third.expect("ask 192.0.2.10")
	if want := (state.Title{Term: 1, Place: 2}); third.saved.VIPs[0].Addresses[0].Title != want {
		t.Errorf("saved title = %+v, want %+v", third.saved.VIPs[0].Addresses[0].Title, want)
	}
	if got := third.saved.VIPs; len(got) != 1 || got[0].Role != string(placeholder.Standby) {
		t.Errorf("saved %+v, want what was taken over", state.State{VIPs: got})
	}
}

func TestWhoHasTheAddressByNowSurvivesARestart(t *testing.T) {
	first := newRig(t)
	first.Synced(first.ctx)
	first.PodChanged(first.ctx, standbyPod("s"))
	first.turn()
	first.Heard(first.ctx, v4, place.Said{From: mac4, Kind: wire.Claim, Title: place.Title{Term: 3, Place: 2}, Titled: true})
	first.turn()
	next := newRig(t)
	next.Adopt(next.ctx, Plan(nil, first.saved), first.saved)
	next.turn()
	if len(next.targets) != 1 || next.targets[0].MAC != mac4 {
		t.Errorf("targets after the restart = %v, want who has claimed the address", next.targets)
	}
}

func TestAnActiveWhoseAddressWasClaimedByAHigherTitleGuardsItAfterARestartToo(t *testing.T) {
	first := newRig(t)
	first.announced()
	first.Heard(first.ctx, v4, place.Said{From: mac4, Kind: wire.Claim, Title: place.Title{Term: 3, Place: 1}, Titled: true})
	first.turn()
	first.expect("silence 192.0.2.10", "cancel probe", "unbind 192.0.2.10")
	if got := first.reports["a"]; got.Ready || got.Announced || got.Reason != placeholder.ReasonSuperseded {
		t.Errorf("report = %+v, want Superseded", got)
	}
	next := newRig(t)
	next.Adopt(next.ctx, Plan(nil, first.saved), first.saved)
	next.PodChanged(next.ctx, pod("a", "192.0.2.10"))
	next.Synced(next.ctx)
	next.turn()
	next.expect()
	if len(next.targets) != 1 || next.targets[0].MAC != mac4 {
		t.Errorf("targets after the restart = %v, want who has claimed the address", next.targets)
	}
}

func TestAnInterfaceThatHearsAgainAsksForWhatIsBoundThenForWhatIsGuarded(t *testing.T) {
	r := newRig(t)
	r.announced()
	s := pod("s", "192.0.2.9")
	s.Labels[placeholder.LabelRole] = "standby"
	r.PodChanged(r.ctx, s)
	r.turn()
	if diff := cmp.Diff([]netip.Addr{netip.MustParseAddr("192.0.2.9"), v4}, r.followedByWire, cmpAddr); diff != "" {
		t.Errorf("followed on the wire (-want +got):\n%s", diff)
	}
	r.Liveness(r.ctx, liveness.Event{Kind: liveness.HeardAgain, NIC: "eth1"})
	r.turn()
	r.expect()
	r.Liveness(r.ctx, liveness.Event{Kind: liveness.HeardAgain, NIC: "eth0"})
	r.turn()
	r.expect("ask 192.0.2.10", "ask 192.0.2.9")
}

func TestAPairIsTakenOverTogether(t *testing.T) {
	r := newRig(t)
	r.NICsChanged(r.ctx, []nic.NIC{{
		Name: "eth0", Index: 7, MAC: mac1[:], Up: true, Carrier: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.101/24"), netip.MustParsePrefix("2001:db8::101/64")},
	}})
	r.Synced(r.ctx)
	pair := standbyPod("s")
	pair.Annotations[placeholder.AnnotationAddresses] = "192.0.2.10,2001:db8::10"
	r.PodChanged(r.ctx, pair)
	r.turn()
	r.guardInForce()
	r.expect()
	r.event(liveness.Silent)
	r.expect("bind 192.0.2.10", "announce 192.0.2.10", "bind 2001:db8::10", "announce 2001:db8::10")
	if got := r.reports["s"]; got.Reason != placeholder.ReasonTookOver {
		t.Errorf("report = %+v, want TookOver", got)
	}
}

// While a VIP is guarded its protection is in force, and another VIP's change doesn't keep it waiting.
func TestATakeoverDoesNotWaitForTheProtectionOfOthers(t *testing.T) {
	r := newRig(t)
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, standbyPod("s"))
	r.turn()
	r.guardInForce()
	r.PodChanged(r.ctx, pod("b", "192.0.2.11")) // its protection isn't in force yet
	r.turn()
	r.event(liveness.Heard)
	r.event(liveness.Silent)
	r.expect("probe 192.0.2.11", "bind 192.0.2.10", "announce 192.0.2.10")
}

func TestALoopThatWasHeldUpAsksWhoHasItsAddressesNow(t *testing.T) {
	r := newRig(t)
	r.announced()
	asked := make(chan struct{})
	r.onAsk = func() { close(asked) }
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	for !r.clock.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	r.clock.Step(3 * time.Second)
	<-asked
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	r.expect("ask 192.0.2.10")
}

// takeOver has the rig take n addresses over.
func (r *rig) takeOver(n int) []netip.Addr {
	r.Synced(r.ctx)
	var addrs []netip.Addr
	for i := range n {
		p := standbyPod(fmt.Sprint("s", i))
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(20 + i)})
		p.Annotations[placeholder.AnnotationAddresses] = addr.String()
		p.Labels[placeholder.LabelVIP] = placeholder.VIPName(addr)
		r.PodChanged(r.ctx, p)
		r.turn()
		r.guardInForce()
		r.Liveness(r.ctx, liveness.Event{Kind: liveness.Silent, Addr: addr, MAC: mac3})
		r.turn()
		addrs = append(addrs, addr)
	}
	r.log = nil
	return addrs
}

func TestWhatWasTakenOverIsAskedForInTurn(t *testing.T) {
	r := newRig(t)
	addrs := r.takeOver(askAtOnce + 2)
	counts := map[string]int{}
	for range 2 * len(addrs) / askAtOnce {
		r.askUnsure(r.ctx, r.clock.Now())
		r.askUnsure(r.ctx, r.clock.Now())
		if len(r.log) != askAtOnce {
			t.Fatalf("asked %d times at once, want %d", len(r.log), askAtOnce)
		}
		for _, what := range r.log {
			counts[what]++
		}
		r.log = nil
		r.clock.Step(askEvery)
	}
	for what, n := range counts {
		if n != 2 {
			t.Errorf("%s: %d times, want all of them equally often: %v", what, n, counts)
		}
	}
}

func TestWhenASplitHealsAllThatWasTakenOverIsAskedForAtOnce(t *testing.T) {
	r := newRig(t)
	addrs := r.takeOver(20)
	r.askUnsure(r.ctx, r.clock.Now())
	r.log = nil
	answer := place.Said{From: mac3, Kind: wire.Claim, Title: place.Title{Term: 1, Place: 1}, Titled: true}
	asked := func() int {
		r.log = nil
		r.turn()
		r.askUnsure(r.ctx, r.clock.Now())
		n := 0
		for _, what := range r.log {
			if strings.HasPrefix(what, "remind of ") {
				n++
			}
		}
		return n
	}
	r.Heard(r.ctx, addrs[0], answer)
	if n := asked(); n != len(addrs) {
		t.Errorf("asked for %d addresses, want all %d", n, len(addrs))
	}
	r.Heard(r.ctx, addrs[1], answer)
	if n := asked(); n > askAtOnce {
		t.Errorf("asked for %d addresses at once, want all of them no more than once a second", n)
	}
	r.clock.Step(askAllEvery)
	if n := asked(); n != len(addrs) {
		t.Errorf("a second later: asked for %d addresses, want all %d", n, len(addrs))
	}
}

package wires

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/arp"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/ndp"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/probe"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var vip = netip.MustParseAddr("192.0.2.10")

// generous is more than any of this takes, however busy the machine.
const generous = 30 * time.Second

// rig is a Set on one end of a wire.
type rig struct {
	*Set
	pair  *nstest.Pair
	nics  []nic.NIC
	heard chan probe.MAC
	said  chan probe.Heard
	sent  atomic.Int32 // announcements
}

func start(t *testing.T) *rig {
	nstest.Require(t)
	t.Cleanup(func() { goleak.VerifyNone(t) })
	p := nstest.NewPair(t, "wire0")
	p.AddAddr(t, "192.0.2.1/24")
	limiter, err := announce.NewLimiter(announce.DefaultRate, announce.DefaultBurst, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{pair: p, heard: make(chan probe.MAC, 64), said: make(chan probe.Heard, 1024)}
	scheduler, err := announce.New(announce.Options{Limiter: limiter, Observe: func(announce.Result) { r.sent.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	timing := probe.Quick()
	timing.Late = time.Second
	r.Set = New(Options{Timing: timing, Listen: func(string, probe.Heard) {}, Limiter: limiter, Announcer: scheduler, Heard: func(_ string, h probe.Heard) {
		if h.Addr == vip && h.Kind != probe.KindProbe {
			r.heard <- h.MAC
		}
		r.said <- h
	}})
	r.nics = []nic.NIC{{
		Name: "wire0", Index: p.Index(), MAC: p.Link.Attrs().HardwareAddr, Up: true, Carrier: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- r.Run(ctx) }()
	go func() { done <- scheduler.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	r.SetNICs(ctx, r.nics)
	return r
}

func (r *rig) peerMAC(t *testing.T) probe.MAC {
	link, err := r.pair.PeerHandle.LinkByName(r.pair.Peer)
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := probe.MACFrom(link.Attrs().HardwareAddr)
	return mac
}

func (r *rig) verdict(t *testing.T, patient bool) probe.MAC {
	t.Helper()
	verdicts := make(chan probe.MAC, 1)
	r.Probe(t.Context(), "wire0", vip, patient, nil, func(owner, _ probe.MAC) { verdicts <- owner }, func(probe.MAC) {})
	select {
	case owner := <-verdicts:
		return owner
	case <-time.After(generous):
		t.Fatal("no verdict")
		return probe.MAC{}
	}
}

func TestAnAddressThatNobodyHasIsFree(t *testing.T) {
	r := start(t)
	for _, patient := range []bool{false, true} {
		if owner := r.verdict(t, patient); owner != (probe.MAC{}) {
			t.Errorf("patient %v: owner = %s, want nobody", patient, owner)
		}
	}
}

func TestAnOwnerIsFound(t *testing.T) {
	r := start(t)
	r.pair.AddPeerAddr(t, "192.0.2.10/24")
	if owner := r.verdict(t, false); owner != r.peerMAC(t) {
		t.Errorf("owner = %s, want %s", owner, r.peerMAC(t))
	}
}

func TestACancelledProbeSaysNothing(t *testing.T) {
	r := start(t)
	r.Probe(t.Context(), "wire0", vip, true, nil, func(_, _ probe.MAC) { t.Error("a verdict after Cancel") }, func(probe.MAC) {})
	r.Cancel(vip)
	// The end of the test waits for the probe's goroutine.
}

func TestAProbeOnANICThatIsNotThereYetWaitsForIt(t *testing.T) {
	r := start(t)
	r.SetNICs(t.Context(), nil)
	verdicts := make(chan probe.MAC, 1)
	r.Probe(t.Context(), "wire0", vip, false, nil, func(owner, _ probe.MAC) { verdicts <- owner }, func(probe.MAC) {})
	r.SetNICs(t.Context(), r.nics)
	select {
	case <-verdicts:
	case <-time.After(generous):
		t.Fatal("no verdict after the NIC had come back")
	}
}

func TestAClaimOfAnotherMachineIsHeardOnlyWhileTheAddressIsFollowed(t *testing.T) {
	r := start(t)
	r.pair.AddPeerAddr(t, "192.0.2.2/24")
	r.Follow([]netip.Addr{vip})
	// The peer's kernel claims the address by using it as the sender of a question.
	r.pair.AddPeerAddr(t, "192.0.2.10/32")
	claim := func() {
		r.pair.InPeer(t, func() {
			conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(192, 0, 2, 10)}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 77), Port: 9})
			if err == nil {
				_, _ = conn.Write([]byte("who has .77? asks .10"))
				conn.Close()
			}
		})
	}
	var from probe.MAC
	nstest.Eventually(t, "the claim", func() bool {
		claim()
		select {
		case from = <-r.heard:
			return true
		default:
			return false
		}
	})
	if from != r.peerMAC(t) {
		t.Errorf("heard %s, want %s", from, r.peerMAC(t))
	}
	r.Follow(nil)
	for len(r.heard) > 0 {
		<-r.heard
	}
	r.hear("wire0", probe.Heard{Addr: vip, MAC: r.peerMAC(t), Source: r.peerMAC(t), Kind: probe.KindClaim, At: time.Now()})
	if len(r.heard) > 0 {
		t.Error("a claim was passed on after it was no longer followed")
	}
}

func TestAnnouncingMovesTheNeighboursEntry(t *testing.T) {
	r := start(t)
	r.pair.AddPeerAddr(t, "192.0.2.2/24")
	peer, err := r.pair.PeerHandle.LinkByName(r.pair.Peer)
	if err != nil {
		t.Fatal(err)
	}
	stale := &netlink.Neigh{
		LinkIndex: peer.Attrs().Index, Family: netlink.FAMILY_V4, State: netlink.NUD_STALE,
		IP: vip.AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x77},
	}
	if err := r.pair.PeerHandle.NeighSet(stale); err != nil {
		t.Fatal(err)
	}
	r.Announce("wire0", vip, wire.Title{Term: 1, Place: 1})
	nstest.Eventually(t, "the neighbour's new entry", func() bool {
		entries, err := r.pair.PeerHandle.NeighList(peer.Attrs().Index, netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IP.Equal(vip.AsSlice()) && e.HardwareAddr.String() == r.nics[0].MAC.String() {
				return true
			}
		}
		return false
	})
}

// wait returns the first frame that is as wanted.
func (r *rig) wait(t *testing.T, what string, wanted func(probe.Heard) bool) probe.Heard {
	t.Helper()
	timeout := time.After(generous)
	for {
		select {
		case h := <-r.said:
			if wanted(h) {
				return h
			}
		case <-timeout:
			t.Fatalf("not heard: %s", what)
		}
	}
}

var vip6 = netip.MustParseAddr("2001:db8::10")

func TestAQuestionIsAnsweredByWhoHasTheAddress(t *testing.T) {
	r := start(t)
	r.pair.AddPeerAddr(t, "192.0.2.10/32")
	r.pair.AddPeerAddr(t, "2001:db8::10/128")
	r.Follow([]netip.Addr{vip, vip6})
	r.Announce("wire0", vip, wire.Title{Term: 1, Place: 1})
	for _, addr := range []netip.Addr{vip, vip6} {
		// An address of IPv6 answers only when the kernel has made sure of it.
		nstest.Eventually(t, "an answer for "+addr.String(), func() bool {
			r.Ask(t.Context(), "wire0", []Question{{Addr: addr, Title: wire.Title{Term: 1, Place: 1}, Held: true}}, true)
			select {
			case h := <-r.said:
				return h.Addr == addr && h.MAC == r.peerMAC(t)
			case <-time.After(20 * time.Millisecond):
				return false
			}
		})
	}
}

func TestTitlesOfIPv6AnnouncementsAndQuestionsAreHeard(t *testing.T) {
	r := start(t)
	r.Follow([]netip.Addr{vip, vip6})
	title := wire.Title{Term: 7, Place: 3}
	peer, err := r.pair.PeerHandle.LinkByName(r.pair.Peer)
	if err != nil {
		t.Fatal(err)
	}
	ifi := &net.Interface{Index: peer.Attrs().Index, Name: r.pair.Peer, HardwareAddr: peer.Attrs().HardwareAddr}
	r.pair.InPeer(t, func() {
		v4, err := arp.Listen(ifi)
		if err != nil {
			t.Error(err)
			return
		}
		defer v4.Close()
		v6, err := ndp.Listen(ifi)
		if err != nil {
			t.Error(err)
			return
		}
		defer v6.Close()
		for _, err := range []error{v4.Ask(vip, title.After()), v6.Announce(vip6, title)} {
			if err != nil {
				t.Error(err)
			}
		}
		// Nobody has the address here, so that nobody has joined its group yet.
		r.Probe(t.Context(), "wire0", vip6, true, nil, func(_, _ probe.MAC) {}, func(probe.MAC) {})
		nstest.Eventually(t, "a question with a title for "+vip6.String(), func() bool {
			if err := v6.Ask(vip6, title.After()); err != nil {
				t.Error(err)
			}
			select {
			case h := <-r.said:
				return h.Addr == vip6 && h.Kind == probe.KindProbe && h.Titled && h.Title == title.After()
			case <-time.After(20 * time.Millisecond):
				return false
			}
		})
		r.Cancel(vip6)
	})
}

func TestTitlesAreHeardInOrder(t *testing.T) {
	r := start(t)
	r.Follow([]netip.Addr{vip})
	title := wire.Title{Term: 7, Place: 3}
	peer, err := r.pair.PeerHandle.LinkByName(r.pair.Peer)
	if err != nil {
		t.Fatal(err)
	}
	ifi := &net.Interface{Index: peer.Attrs().Index, Name: r.pair.Peer, HardwareAddr: peer.Attrs().HardwareAddr}
	r.pair.InPeer(t, func() {
		conn, err := arp.Listen(ifi)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if err := conn.Announce(vip, title); err != nil {
			t.Error(err)
		}
		if err := conn.Announce(vip, title.After()); err != nil {
			t.Error(err)
		}
	})
	for _, want := range []wire.Title{title, title.After()} {
		h := r.wait(t, "an announcement by title "+want.String(), func(h probe.Heard) bool { return h.Kind == probe.KindClaim })
		if !h.Titled || h.Title != want || h.MAC != r.peerMAC(t) {
			t.Errorf("heard %+v, want title %s of the peer", h, want)
		}
	}
}

// A question holds back what is announced of the address, until whoever has it, too, could have answered.
func TestWhileAnAddressIsAskedForItIsNotAnnounced(t *testing.T) {
	r := start(t)
	r.Announce("wire0", vip, wire.Title{Term: 1, Place: 1})
	nstest.Eventually(t, "the first announcement", func() bool { return r.sent.Load() == 1 })
	begun := time.Now()
	r.Ask(t.Context(), "wire0", []Question{{Addr: vip, Held: true}}, true)
	r.Assert(vip)
	nstest.Eventually(t, "the next announcement", func() bool { return r.sent.Load() == 2 })
	if took := time.Since(begun); took < answerWithin {
		t.Errorf("announced %v after the question, want at least %v", took, answerWithin)
	}
}

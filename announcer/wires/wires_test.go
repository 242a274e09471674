package wires

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/arp/wire"
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
	scheduler, err := announce.New(announce.Options{Limiter: limiter})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{pair: p, heard: make(chan probe.MAC, 64)}
	timing := probe.Quick()
	timing.Late = time.Second
	r.Set = New(Options{Timing: timing, Listen: func(string, probe.Heard) {}, Limiter: limiter, Announcer: scheduler, Heard: func(h probe.Heard) {
		if h.Addr == vip && h.Kind != probe.KindProbe {
			r.heard <- h.MAC
		}
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
	r.hear(probe.Heard{Addr: vip, MAC: r.peerMAC(t), Source: r.peerMAC(t), Kind: probe.KindClaim, At: time.Now()})
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

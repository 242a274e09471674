package arp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/arp/wire"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const patience = 30 * time.Second

// ears collects what a Conn heard.
type ears struct {
	mu    sync.Mutex
	heard []wire.Heard
}

func (e *ears) hear(h wire.Heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, h)
}

// of returns what was heard of addr.
func (e *ears) of(addr netip.Addr) []wire.Heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	var of []wire.Heard
	for _, h := range e.heard {
		if h.Addr == addr {
			of = append(of, h)
		}
	}
	return of
}

// listen opens a Conn on the pair's end here, and reads until the test ends.
// The returned channel gives what Run returned.
func listen(t *testing.T, p *nstest.Pair) (*Conn, *ears, <-chan error) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ifi, err := net.InterfaceByIndex(p.Index())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Listen(ifi)
	if err != nil {
		t.Fatal(err)
	}
	e := &ears{}
	ctx, cancel := context.WithCancel(context.Background())
	done, returned := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(returned)
		done <- c.Run(ctx, e.hear)
	}()
	t.Cleanup(func() {
		cancel()
		<-returned
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	nstest.Eventually(t, "the reader to read", func() bool { return c.Sync() == nil })
	return c, e, done
}

func peerMAC(t *testing.T, p *nstest.Pair) wire.MAC {
	t.Helper()
	l, err := p.PeerHandle.LinkByName(p.Peer)
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := wire.MACFrom(l.Attrs().HardwareAddr)
	return mac
}

func TestAProbeFindsAnAddressThatAKernelHolds(t *testing.T) {
	p := nstest.NewPair(t, "arp0")
	p.AddPeerAddr(t, "192.0.2.10/24")
	c, e, _ := listen(t, p)
	sent := time.Now()
	if err := c.Probe(vip); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "an answer", func() bool { return len(e.of(vip)) > 0 })
	h := e.of(vip)[0]
	if h.Kind != wire.Answer || h.MAC != peerMAC(t, p) || h.Source != h.MAC {
		t.Errorf("heard %+v, want an answer of %s", h, peerMAC(t, p))
	}
	if h.At.Before(sent) || h.At.After(time.Now()) {
		t.Errorf("heard at %v, sent at %v", h.At, sent)
	}
	t.Logf("answered after %v", h.At.Sub(sent))

	if err := c.ProbeTo(vip, h.MAC); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "an answer to the unicast probe", func() bool { return len(e.of(vip)) > 1 })
	if err := c.Request(node, vip, h.MAC); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "an answer to the unicast request", func() bool { return len(e.of(vip)) > 2 })
}

func TestOwnFramesAreNotHeardButThoseOfOthersAre(t *testing.T) {
	p := nstest.NewPair(t, "arp0")
	c, e, _ := listen(t, p)
	var peer *Conn
	p.InPeer(t, func() {
		ifi, err := net.InterfaceByName(p.Peer)
		if err != nil {
			t.Fatal(err)
		}
		if peer, err = Listen(ifi); err != nil {
			t.Fatal(err)
		}
	})
	defer func() { _ = peer.Close() }()

	if err := c.Announce(vip, title); err != nil {
		t.Fatal(err)
	}
	if err := c.Probe(vip); err != nil {
		t.Fatal(err)
	}
	// Odd frames and those of a VLAN that has no interface here come before
	// what must be heard.
	good := NewAnnouncement(Request, there, netip.MustParseAddr("192.0.2.99"), title).AppendTo(nil)
	odd := append([]byte(nil), good...)
	odd[wire.HeaderLen+7] = 9
	for _, frame := range [][]byte{odd, odd[:wire.HeaderLen+3], tagged(NewAnnouncement(Request, there, vip, title).AppendTo(nil))} {
		if err := peer.c.Send(frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := peer.Probe(node); err != nil {
		t.Fatal(err)
	}
	if err := peer.Announce(node, title); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "the peer's frames", func() bool { return len(e.of(node)) == 3 })
	var kinds []wire.Kind
	for _, h := range e.of(node) {
		kinds = append(kinds, h.Kind)
	}
	if kinds[0] != wire.Probe || kinds[1] != wire.Claim || kinds[2] != wire.Claim {
		t.Errorf("heard %v", kinds)
	}
	if got := e.of(vip); len(got) != 0 {
		t.Errorf("heard own or foreign-VLAN frames: %+v", got)
	}
}

// tagged puts a frame into VLAN 7.
func tagged(frame []byte) []byte {
	out := append([]byte(nil), frame[:12]...)
	out = binary.BigEndian.AppendUint16(out, 0x8100)
	out = binary.BigEndian.AppendUint16(out, 7)
	return append(out, frame[12:]...)
}

// neighbour returns the peer's entry for addr.
func neighbour(t *testing.T, p *nstest.Pair, addr netip.Addr) (wire.MAC, bool) {
	t.Helper()
	l, err := p.PeerHandle.LinkByName(p.Peer)
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.PeerHandle.NeighList(l.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if a, _ := netip.AddrFromSlice(n.IP); a.Unmap() == addr {
			return wire.MACFrom(n.HardwareAddr)
		}
	}
	return wire.MAC{}, false
}

func TestAnAnnouncementUpdatesTheNeighbourEntryButMakesNone(t *testing.T) {
	p := nstest.NewPair(t, "arp0")
	p.AddPeerAddr(t, "192.0.2.2/24")
	c, _, _ := listen(t, p)
	l, err := p.PeerHandle.LinkByName(p.Peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.PeerHandle.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V4,
		State: netlink.NUD_REACHABLE, IP: vip.AsSlice(), HardwareAddr: wire.MAC{2, 0, 0, 0, 0, 0x77}.HardwareAddr()}); err != nil {
		t.Fatal(err)
	}
	own, err := c.MAC()
	if err != nil {
		t.Fatal(err)
	}
	absent := netip.MustParseAddr("192.0.2.11")
	for _, form := range []Op{Request, Reply} {
		if err := p.PeerHandle.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V4,
			State: netlink.NUD_REACHABLE, IP: vip.AsSlice(), HardwareAddr: wire.MAC{2, 0, 0, 0, 0, 0x77}.HardwareAddr()}); err != nil {
			t.Fatal(err)
		}
		// The entry was confirmed just now: within LOCKTIME only what Linux
		// takes for gratuitous changes it.
		if err := c.c.Send(NewAnnouncement(form, own, absent, title).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		if err := c.c.Send(NewAnnouncement(form, own, vip, title).AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, "the entry to follow the "+form.String(), func() bool {
			mac, ok := neighbour(t, p, vip)
			return ok && mac == own
		})
	}
	if mac, ok := neighbour(t, p, absent); ok {
		t.Errorf("an entry was made: %s at %s", absent, mac)
	}
}

func TestTheConnOutlivesADownedInterfaceButNotADeletedOne(t *testing.T) {
	p := nstest.NewPair(t, "arp0")
	p.AddPeerAddr(t, "192.0.2.10/24")
	c, e, done := listen(t, p)
	for round := 1; round <= 2; round++ {
		if err := netlink.LinkSetDown(p.Link); err != nil {
			t.Fatal(err)
		}
		if err := c.Probe(vip); err == nil {
			t.Error("probing on a downed interface is no error")
		}
		if err := netlink.LinkSetUp(p.Link); err != nil {
			t.Fatal(err)
		}
		nstest.Eventually(t, "an answer after the interface came up", func() bool {
			return c.Probe(vip) == nil && len(e.of(vip)) >= round
		})
	}
	select {
	case err := <-done:
		t.Fatalf("stopped reading: %v", err)
	default:
	}
	if err := netlink.LinkDel(p.Link); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, wire.ErrGone) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Fatal("still reads from a deleted interface")
	}
	if _, err := c.MAC(); !errors.Is(err, wire.ErrGone) {
		t.Errorf("MAC: %v", err)
	}
	if err := c.Announce(vip, title); !errors.Is(err, wire.ErrGone) {
		t.Errorf("Announce: %v", err)
	}
}

func TestAnInterfaceThatIsDeletedWhileDownIsNoticed(t *testing.T) {
	p := nstest.NewPair(t, "arp0")
	_, _, done := listen(t, p)
	if err := netlink.LinkSetDown(p.Link); err != nil {
		t.Fatal(err)
	}
	// The kernel says nothing to the socket of a downed interface that goes.
	// The pause lets the reader see it down first; without it the test would
	// pass for less.
	time.Sleep(50 * time.Millisecond)
	if err := netlink.LinkDel(p.Link); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if !errors.Is(err, wire.ErrGone) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Fatal("still reads from a deleted interface")
	}
}

func TestTheMACIsThePresentOne(t *testing.T) {
	p := nstest.NewPair(t, "arp0")
	c, _, _ := listen(t, p)
	want := wire.MAC{2, 0, 0, 0, 0, 0x55}
	if err := netlink.LinkSetHardwareAddr(p.Link, want.HardwareAddr()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.MAC(); err != nil || got != want {
		t.Errorf("MAC() = %s, %v", got, err)
	}
}

func TestOnlyEthernetAndOnlyIPv4(t *testing.T) {
	nstest.Require(t)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(lo); err == nil {
		t.Error("listens on the loopback")
	}
	p := nstest.NewPair(t, "arp0")
	c, _, _ := listen(t, p)
	for _, s := range []string{"2001:db8::1", "0.0.0.0", "224.0.0.1", "::ffff:192.0.2.1"} {
		if err := c.Announce(netip.MustParseAddr(s), title); err == nil {
			t.Errorf("announced %s", s)
		}
	}
}

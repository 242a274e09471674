package ndp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/arp/wire"
)

func TestMain(m *testing.M) { nstest.Main(m) }

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
func listen(t *testing.T, p *nstest.Pair) (*Conn, *ears) {
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
	done := make(chan error)
	go func() { done <- c.Run(ctx, e.hear) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, wire.ErrGone) {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	nstest.Eventually(t, "the reader to read", func() bool { return c.Sync() == nil })
	return c, e
}

func peerLink(t *testing.T, p *nstest.Pair) netlink.Link {
	t.Helper()
	l, err := p.PeerHandle.LinkByName(p.Peer)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAProbeFindsAnAddressThatAKernelHolds(t *testing.T) {
	p := nstest.NewPair(t, "ndp0")
	p.AddPeerAddr(t, vip.String()+"/64")
	c, e := listen(t, p)
	sent := time.Now()
	nstest.Eventually(t, "an answer", func() bool {
		// The peer's own address takes part only after its link is ready.
		sent = time.Now()
		if err := c.Probe(vip); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		return len(e.of(vip)) > 0
	})
	h := e.of(vip)[0]
	want, _ := wire.MACFrom(peerLink(t, p).Attrs().HardwareAddr)
	if !h.Owner() || h.MAC != want || h.Source != want {
		t.Errorf("heard %+v, want an answer of %s", h, want)
	}
	t.Logf("answered %v after the last probe", h.At.Sub(sent))

	before := len(e.of(vip))
	nstest.Eventually(t, "an answer to a probe in a unicast frame", func() bool {
		if err := c.ProbeTo(vip, want); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		return len(e.of(vip)) > before
	})
}

func TestAnAnnouncementUpdatesTheNeighbourEntryButMakesNone(t *testing.T) {
	p := nstest.NewPair(t, "ndp0")
	p.AddPeerAddr(t, "2001:db8::2/64")
	c, _ := listen(t, p)
	index := peerLink(t, p).Attrs().Index
	if err := p.PeerHandle.NeighSet(&netlink.Neigh{LinkIndex: index, Family: netlink.FAMILY_V6,
		State: netlink.NUD_REACHABLE, IP: vip.AsSlice(), HardwareAddr: there.HardwareAddr()}); err != nil {
		t.Fatal(err)
	}
	own, err := c.MAC()
	if err != nil {
		t.Fatal(err)
	}
	absent := netip.MustParseAddr("2001:db8::11")
	for _, addr := range []netip.Addr{absent, vip} {
		if err := c.Announce(addr, title); err != nil {
			t.Fatal(err)
		}
	}
	find := func(addr netip.Addr) (wire.MAC, bool) {
		all, err := p.PeerHandle.NeighList(index, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range all {
			if a, _ := netip.AddrFromSlice(n.IP); a == addr {
				return wire.MACFrom(n.HardwareAddr)
			}
		}
		return wire.MAC{}, false
	}
	nstest.Eventually(t, "the entry to follow", func() bool {
		mac, ok := find(vip)
		return ok && mac == own
	})
	if mac, ok := find(absent); ok {
		t.Errorf("an entry was made: %s at %s", absent, mac)
	}
}

func TestOthersAreHeardAndOwnFramesAreNot(t *testing.T) {
	p := nstest.NewPair(t, "ndp0")
	c, e := listen(t, p)
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
	// An odd frame comes before what must be heard.
	other := netip.MustParseAddr("2001:db8::99")
	b, err := NewAnnouncement(there, other, title).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1]++
	if err := peer.c.Send(b); err != nil {
		t.Fatal(err)
	}
	if err := peer.Probe(other); err != nil {
		t.Fatal(err)
	}
	if err := peer.Announce(other, title); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "the peer's frames", func() bool { return len(e.of(other)) == 2 })
	if h := e.of(other); h[0].Kind != wire.Probe || h[1].Kind != wire.Claim {
		t.Errorf("heard %+v", h)
	}
	if got := e.of(vip); len(got) != 0 {
		t.Errorf("heard own frames: %+v", got)
	}
}

// memberships returns how often the solicited-node group of addr is joined on
// an interface of the tests' namespace.
func memberships(t *testing.T, name string, addr netip.Addr) int {
	t.Helper()
	group := SolicitedNode(addr).As16()
	b, err := os.ReadFile("/proc/thread-self/net/igmp6")
	if err != nil {
		t.Fatal(err)
	}
	const digits = "0123456789abcdef"
	var want strings.Builder
	for _, o := range group {
		want.WriteByte(digits[o>>4])
		want.WriteByte(digits[o&15])
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == name && f[2] == want.String() {
			return 1
		}
	}
	return 0
}

func TestJoiningLastsUntilTheLastLeave(t *testing.T) {
	p := nstest.NewPair(t, "ndp0")
	c, _ := listen(t, p)
	// Another address of the same group.
	twin := netip.MustParseAddr("2001:db8:1::12:3456")
	steps := []struct {
		name string
		do   func() error
		want int
	}{
		{"the first join", func() error { return c.Join(vip) }, 1},
		{"a second join", func() error { return c.Join(twin) }, 1},
		{"the first leave", func() error { return c.Leave(vip) }, 1},
		{"the last leave", func() error { return c.Leave(twin) }, 0},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := memberships(t, "ndp0", vip); got != s.want {
			t.Errorf("after %s: %d memberships, want %d", s.name, got, s.want)
		}
	}
	if err := c.Leave(vip); err == nil {
		t.Error("one leave too many is no error")
	}
	if err := c.Join(netip.MustParseAddr("192.0.2.1")); err == nil {
		t.Error("joined for an IPv4 address")
	}
}

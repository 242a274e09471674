package probe_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/arp"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/ndp"
	"evenkeel.io/evenkeel/announcer/probe"
)

var (
	vip4   = netip.MustParseAddr("192.0.2.10")
	vip6   = netip.MustParseAddr("2001:db8::10")
	nobody = netip.MustParseAddr("192.0.2.11")
	net4   = netip.MustParsePrefix("192.0.2.0/24")
	net6   = netip.MustParsePrefix("2001:db8::/64")
)

// conn is either family's connection.
type conn interface {
	probe.Link
	Run(ctx context.Context, hear func(wire.Heard)) error
	Close() error
}

// setup returns a running Prober on the pair's end here.
func setup(t *testing.T, p *nstest.Pair, v6 bool) *probe.Prober {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ifi, err := net.InterfaceByIndex(p.Index())
	if err != nil {
		t.Fatal(err)
	}
	var c conn
	if v6 {
		c, err = ndp.Listen(ifi)
	} else {
		c, err = arp.Listen(ifi)
	}
	if err != nil {
		t.Fatal(err)
	}
	pr, err := probe.New(c, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx, pr.Hear) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	nstest.Eventually(t, "the reader to read", func() bool { return c.Sync() == nil })
	return pr
}

func peerMAC(t *testing.T, p *nstest.Pair) probe.MAC {
	t.Helper()
	l, err := p.PeerHandle.LinkByName(p.Peer)
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := probe.MACFrom(l.Attrs().HardwareAddr)
	return mac
}

func open(t *testing.T, pr *probe.Prober, addr netip.Addr, subnet netip.Prefix) *probe.Session {
	t.Helper()
	s, err := pr.Open(probe.Request{Addr: addr, Controls: probe.Controls(subnet, addr, 2, nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func verdict(t *testing.T, s *probe.Session) probe.Verdict {
	t.Helper()
	v, err := s.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s after %v", v, v.Took)
	return v
}

func TestAKernelThatHoldsTheAddressIsFound(t *testing.T) {
	for name, tt := range map[string]struct {
		addr   netip.Addr
		subnet netip.Prefix
	}{"IPv4": {vip4, net4}, "IPv6": {vip6, net6}} {
		t.Run(name, func(t *testing.T) {
			p := nstest.NewPair(t, "probe0")
			pr := setup(t, p, tt.addr.Is6())
			if v := verdict(t, open(t, pr, tt.addr, tt.subnet)); !v.Free {
				t.Errorf("nobody holds it, yet %s", v)
			}
			p.AddPeerAddr(t, netip.PrefixFrom(tt.addr, tt.subnet.Bits()).String())
			if tt.addr.Is6() {
				waitForIPv6(t, pr, tt.addr)
			}
			sent := time.Now()
			v := verdict(t, open(t, pr, tt.addr, tt.subnet))
			if v.Free || v.MAC != peerMAC(t, p) {
				t.Errorf("%s, want a conflict with %s", v, peerMAC(t, p))
			}
			t.Logf("answered after %v", v.Heard.At.Sub(sent))
		})
	}
}

// waitForIPv6 waits until the peer's IPv6 takes part: it does so only some time
// after its link came up.
func waitForIPv6(t *testing.T, pr *probe.Prober, addr netip.Addr) {
	t.Helper()
	nstest.Eventually(t, "the peer's IPv6", func() bool {
		s, err := pr.Open(probe.Request{Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		v, err := s.Probe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return !v.Free
	})
}

// responder answers every ARP question for which has is true, after delay.
func responder(t *testing.T, p *nstest.Pair, has func(netip.Addr) bool, delay time.Duration) {
	t.Helper()
	var c *wire.Conn
	p.InPeer(t, func() {
		ifi, err := net.InterfaceByName(p.Peer)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = wire.Listen(ifi, wire.EtherTypeARP, nil); err != nil {
			t.Fatal(err)
		}
	})
	mac := peerMAC(t, p)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	var pending atomic.Int32
	go func() {
		done <- c.Run(ctx, func(b []byte, _ time.Time) {
			f, err := arp.Parse(b)
			if err != nil || f.Op != arp.Request || !has(f.TargetIP) {
				return
			}
			answer := arp.Frame{Dest: f.Source, Source: mac, Op: arp.Reply,
				SenderMAC: mac, SenderIP: f.TargetIP, TargetMAC: f.SenderMAC, TargetIP: f.SenderIP}.AppendTo(nil)
			pending.Add(1)
			time.AfterFunc(delay, func() {
				defer pending.Add(-1)
				_ = c.Send(answer) // fails only when the test is over
			})
		})
	}()
	t.Cleanup(func() {
		nstest.Eventually(t, "the last answer", func() bool { return pending.Load() == 0 })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = c.Close()
	})
}

func TestAMachineThatAnswersForEverythingIsAProxy(t *testing.T) {
	p := nstest.NewPair(t, "probe0")
	pr := setup(t, p, false)
	responder(t, p, func(netip.Addr) bool { return true }, 0)
	v := verdict(t, open(t, pr, vip4, net4))
	if !v.Free || v.Proxy != peerMAC(t, p) {
		t.Errorf("%s, want it free and %s a proxy", v, peerMAC(t, p))
	}
}

func TestAKernelThatDoesProxyARPIsNoOwner(t *testing.T) {
	p := nstest.NewPair(t, "probe0")
	// The peer routes net4 elsewhere and answers for all of it: but not, since
	// it follows RFC 5227, to who has no address yet.
	p.AddPeerAddr(t, "198.51.100.1/24")
	p.InPeer(t, func() { proxyARP(t, p.Peer) })
	elsewhere := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "elsewhere"}, PeerName: "nowhere"}
	if err := p.PeerHandle.LinkAdd(elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := p.PeerHandle.LinkSetUp(elsewhere); err != nil {
		t.Fatal(err)
	}
	a, _ := netlink.ParseAddr("192.0.2.1/24")
	if err := p.PeerHandle.AddrAdd(elsewhere, a); err != nil {
		t.Fatal(err)
	}
	pr := setup(t, p, false)
	requireProxy(t, p, vip4)
	s := open(t, pr, vip4, net4)
	if v := verdict(t, s); !v.Free {
		t.Errorf("%s", v)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if v, err := s.Late(ctx); err == nil {
		t.Errorf("a late verdict: %s", v)
	}
	// An address that the router itself holds is a conflict all the same.
	router := netip.MustParseAddr("198.51.100.1")
	if v := verdict(t, open(t, pr, router, netip.MustParsePrefix("198.51.100.0/24"))); v.Free || v.MAC != peerMAC(t, p) {
		t.Errorf("the router's own address: %s", v)
	}
}

func TestALateAnswerIsFound(t *testing.T) {
	p := nstest.NewPair(t, "probe0")
	pr := setup(t, p, false)
	responder(t, p, func(a netip.Addr) bool { return a == vip4 }, 300*time.Millisecond)
	s, free := open(t, pr, vip4, net4), open(t, pr, nobody, net4)
	v := verdict(t, s)
	if v.Free { // the rule, but a slow machine may hear the answer in time
		var err error
		if v, err = s.Late(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("late: %s after %v", v, v.Took)
	}
	if v.Free || v.MAC != peerMAC(t, p) {
		t.Errorf("%s, want a conflict with %s", v, peerMAC(t, p))
	}
	if v := verdict(t, free); !v.Free {
		t.Errorf("another address at the same time: %s", v)
	}
}

func TestANeighbourSolicitationOfAnotherForTheSameAddressIsAConflict(t *testing.T) {
	p := nstest.NewPair(t, "probe0")
	pr := setup(t, p, true)
	s := open(t, pr, vip6, net6)
	var peer *ndp.Conn
	p.InPeer(t, func() {
		ifi, err := net.InterfaceByName(p.Peer)
		if err != nil {
			t.Fatal(err)
		}
		if peer, err = ndp.Listen(ifi); err != nil {
			t.Fatal(err)
		}
	})
	defer func() { _ = peer.Close() }()
	if err := peer.Probe(vip6); err != nil {
		t.Fatal(err)
	}
	v := verdict(t, s)
	if v.Free || v.MAC != peerMAC(t, p) || v.Heard.Kind != probe.KindProbe {
		t.Errorf("%s", v)
	}
}

// proxyARP makes the calling thread's namespace answer on an interface for
// whatever it would route elsewhere.
func proxyARP(t *testing.T, name string) {
	t.Helper()
	for path, v := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward":                     "1",
		"/proc/sys/net/ipv4/conf/" + name + "/proxy_arp":    "1",
		"/proc/sys/net/ipv4/neigh/" + name + "/proxy_delay": "0",
	} {
		if err := os.WriteFile(path, []byte(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// requireProxy waits until the peer answers an ordinary question for addr.
func requireProxy(t *testing.T, p *nstest.Pair, addr netip.Addr) {
	t.Helper()
	ifi, err := net.InterfaceByIndex(p.Index())
	if err != nil {
		t.Fatal(err)
	}
	c, err := arp.Listen(ifi)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	var answered atomic.Bool
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- c.Run(ctx, func(h wire.Heard) {
			if h.Addr == addr && h.Kind == wire.Answer {
				answered.Store(true)
			}
		})
	}()
	nstest.Eventually(t, "an answer of the proxy", func() bool {
		if err := c.Request(netip.MustParseAddr("198.51.100.9"), addr, wire.Broadcast); err != nil {
			t.Fatal(err)
		}
		return answered.Load()
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

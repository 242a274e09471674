package echo

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/arp/wire"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// heard collects what a Conn heard.
type heard struct {
	mu  sync.Mutex
	all []Message
}

func (h *heard) hear(m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, m)
}

// last returns the last message of a kind from addr.
func (h *heard) last(addr netip.Addr, question bool) (Message, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.all) - 1; i >= 0; i-- {
		if m := h.all[i]; m.Addr == addr && m.Question == question {
			return m, true
		}
	}
	return Message{}, false
}

// listen opens a Conn on an interface of the present namespace and reads until the test ends.
func listen(t *testing.T, name string, v4 bool) (*Conn, *heard) {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Listen(ifi, v4)
	if err != nil {
		t.Fatal(err)
	}
	h := &heard{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, h.hear) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = c.Close()
	})
	nstest.Eventually(t, "the reader to read", func() bool { return c.Sync() == nil })
	return c, h
}

func TestAKernelAnswersForWhatItHasAndIsHeardAsking(t *testing.T) {
	for _, family := range []struct {
		name                   string
		own, peer, vip, absent string
	}{
		{"IPv4", "192.0.2.101/24", "192.0.2.102/24", "192.0.2.10/32", "192.0.2.11"},
		{"IPv6", "2001:db8::101/64", "2001:db8::102/64", "2001:db8::10/128", "2001:db8::11"},
	} {
		t.Run(family.name, func(t *testing.T) {
			nstest.Require(t)
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) })
			p := nstest.NewPair(t, "echo0")
			p.AddAddr(t, family.own)
			p.AddPeerAddr(t, family.peer)
			p.AddPeerAddr(t, family.vip)
			own, peer := netip.MustParsePrefix(family.own).Addr(), netip.MustParsePrefix(family.peer).Addr()
			vip, absent := netip.MustParsePrefix(family.vip).Addr(), netip.MustParseAddr(family.absent)
			link, err := p.PeerHandle.LinkByName(p.Peer)
			if err != nil {
				t.Fatal(err)
			}
			mac, _ := wire.MACFrom(link.Attrs().HardwareAddr)
			ours, _ := wire.MACFrom(p.Link.Attrs().HardwareAddr)

			c, here := listen(t, "echo0", own.Is4())
			var other *Conn
			var there *heard
			p.InPeer(t, func() { other, there = listen(t, p.Peer, own.Is4()) })

			sent := time.Now()
			nstest.Eventually(t, "an answer", func() bool { // the kernel resolves our address first
				if err := c.Ask(own, absent, mac); err != nil {
					t.Fatal(err)
				}
				if err := c.Ask(own, vip, mac); err != nil {
					t.Fatal(err)
				}
				_, ok := here.last(vip, false)
				return ok
			})
			m, _ := here.last(vip, false)
			if m.MAC != mac || m.At.Before(sent) || m.At.After(time.Now()) {
				t.Errorf("heard %+v, want an answer of %s", m, mac)
			}
			t.Logf("answered after %v", m.At.Sub(sent))
			if m, ok := here.last(absent, false); ok {
				t.Errorf("heard %+v of an address that nobody has", m)
			}

			nstest.Eventually(t, "the question there", func() bool { _, ok := there.last(own, true); return ok })
			if m, _ := there.last(own, true); m.MAC != ours || m.Hops != hops {
				t.Errorf("the other heard %+v, want a question of %s", m, ours)
			}
			if m, ok := there.last(own, false); ok {
				t.Errorf("the other took %+v for an answer to itself", m)
			}
			if err := other.Ask(peer, own, ours); err != nil {
				t.Fatal(err)
			}
			nstest.Eventually(t, "the other's question here", func() bool { _, ok := here.last(peer, true); return ok })
			if err := c.Ask(own, vip, wire.MAC{2, 0, 0, 0, 0, 0x99}); err != nil {
				t.Fatal(err)
			}
			if err := c.Ask(netip.Addr{}, vip, mac); err == nil {
				t.Error("asked without an address of our own")
			}
		})
	}
}

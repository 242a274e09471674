package nic

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func TestWatcherFollowsInterfacesAndNotVIPs(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := nstest.NewPair(t, "eth0")
	p.AddAddr(t, "192.0.2.1/24")
	vip := netip.MustParseAddr("192.0.2.10")
	b, err := address.New(address.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	if err := b.Bind(t.Context(), address.Binding{Addr: vip, Interface: p.Index()}); err != nil {
		t.Fatal(err)
	}

	changes := make(chan []NIC, 100)
	w, err := NewWatcher(Options{Notify: func(nics []NIC) { changes <- nics }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
		if err := w.Close(); err != nil {
			t.Error("Close:", err)
		}
	}()
	find := func(name string) (NIC, bool) {
		nics := w.Snapshot()
		i := slices.IndexFunc(nics, func(n NIC) bool { return n.Name == name })
		if i < 0 {
			return NIC{}, false
		}
		return nics[i], true
	}
	n, ok := find("eth0")
	if !ok || !n.Up || !n.Carrier || n.Index != p.Index() || n.MAC.String() != p.Link.Attrs().HardwareAddr.String() {
		t.Fatalf("eth0 is %+v", n)
	}
	if n.SpeedMbps != 10000 && n.SpeedMbps != 0 {
		t.Errorf("speed %d, a veth says 10000 or nothing", n.SpeedMbps)
	}
	if !slices.Equal(n.Addresses, prefixes("192.0.2.1/24")) {
		t.Fatalf("own addresses %v", n.Addresses)
	}
	if _, ok := find("lo"); ok {
		t.Error("loopback may carry VIPs")
	}

	step := func(what string, do func(), want func() bool) {
		t.Helper()
		do()
		nstest.Eventually(t, what, want)
		<-changes
	}
	step("an added address", func() { p.AddAddr(t, "2001:db8::1/64") }, func() bool {
		n, _ := find("eth0")
		return slices.Equal(n.Addresses, prefixes("192.0.2.1/24", "2001:db8::1/64"))
	})
	step("a removed address", func() { p.DelAddr(t, "192.0.2.1/24") }, func() bool {
		n, _ := find("eth0")
		return slices.Equal(n.Addresses, prefixes("2001:db8::1/64"))
	})
	peer, err := p.PeerHandle.LinkByName(p.Peer)
	if err != nil {
		t.Fatal(err)
	}
	step("a lost carrier", func() { must(t, p.PeerHandle.LinkSetDown(peer)) }, func() bool {
		n, _ := find("eth0")
		return n.Up && !n.Carrier
	})
	step("a carrier", func() { must(t, p.PeerHandle.LinkSetUp(peer)) }, func() bool {
		n, _ := find("eth0")
		return n.Carrier
	})
	step("another name", func() {
		must(t, netlink.LinkSetDown(p.Link))
		must(t, netlink.LinkSetName(p.Link, "eth7"))
	}, func() bool {
		n, ok := find("eth7")
		return ok && n.Index == p.Index()
	})
	step("no interface", func() { must(t, netlink.LinkDel(p.Link)) }, func() bool {
		_, ok := find("eth7")
		return !ok
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// follow runs a Watcher until the test ends.
func follow(t *testing.T) *Watcher {
	t.Helper()
	w, err := NewWatcher(Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
		if err := w.Close(); err != nil {
			t.Error("Close:", err)
		}
	})
	return w
}

package address

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestADeletedAddressIsPutBackAtOnce(t *testing.T) {
	p := dualStack(t)
	var rec recorder
	b, _ := start(t, Options{Lifetime: calm, Notify: rec.notify})
	mustBind(t, b, p.Index(), vip4, vip6)
	for _, addr := range []netip.Addr{vip4, vip6} {
		prefix := netip.PrefixFrom(addr, addr.BitLen()).String()
		deleted := time.Now()
		p.DelAddr(t, prefix)
		nstest.Eventually(t, addr.String()+" to be put back", func() bool { return onLink(t, p.Index(), addr) })
		t.Logf("%s put back after %s (polled)", addr, time.Since(deleted).Round(10*time.Microsecond))
		nstest.Eventually(t, "report", func() bool { return rec.has(RestoredEvent, addr) })
		if !b.Held(addr) {
			t.Errorf("%s isn't held after it was put back", addr)
		}
	}
}

func TestAfterAFlushTheNodesAddressComesFirst(t *testing.T) {
	p := dualStack(t)
	second4, second6 := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	var rec recorder
	b, _ := start(t, Options{Lifetime: calm, Notify: rec.notify})
	mustBind(t, b, p.Index(), vip4, vip6, second4, second6)

	// As `ip addr flush dev nic0 scope global` does it: in the list's order, until nothing is left.
	nstest.Eventually(t, "an empty list", func() bool {
		left := list(t, p.Index())
		for _, a := range left {
			// What has just been put back and deleted again is no failure.
			_ = netlink.AddrDel(p.Link, netlinkAddr(a))
		}
		return len(left) == 0
	})
	for _, addr := range []netip.Addr{vip4, vip6, second4, second6} {
		nstest.Eventually(t, "suspension of "+addr.String(), func() bool {
			info, ok := b.Lookup(addr)
			return ok && info.State == Suspended && info.Reason == NoNodeAddress
		})
		if b.Held(addr) {
			t.Errorf("%s is said to be held while it is off the interface", addr)
		}
	}
	if got := list(t, p.Index()); len(got) != 0 {
		t.Fatalf("put back ahead of the node's own address: %v", got)
	}
	restored := time.Now()
	p.AddAddr(t, "192.0.2.1/24")
	p.AddAddr(t, "2001:db8::1/64")
	for _, addr := range []netip.Addr{vip4, vip6, second4, second6} {
		nstest.Eventually(t, addr.String()+" to be put back", func() bool { return onLink(t, p.Index(), addr) })
	}
	t.Logf("all back %s after the node's addresses", time.Since(restored).Round(10*time.Microsecond))
	if got := prefixes(t, p.Index(), true)[0]; got != "192.0.2.1/24" {
		t.Errorf("first IPv4 address is %s", got)
	}
	// What IPv6 can do: its source selection avoids the deprecated VIPs wherever they stand.
	for _, a := range list(t, p.Index()) {
		if a.Addr().Is6() && Marked(a) && a.Preferred != 0 {
			t.Errorf("%s could be chosen as a source", a.Prefix)
		}
	}
}

func TestADeletedAddressWaitsForTheNodesAddress(t *testing.T) {
	p := dualStack(t)
	var rec recorder
	b, _ := start(t, Options{Lifetime: calm, RenewEvery: time.Minute, Notify: rec.notify})
	mustBind(t, b, p.Index(), vip4, vip6)
	for own, addr := range map[string]netip.Addr{"192.0.2.1/24": vip4, "2001:db8::1/64": vip6} {
		p.DelAddr(t, own)
		p.DelAddr(t, netip.PrefixFrom(addr, addr.BitLen()).String())
		nstest.Eventually(t, "suspension of "+addr.String(), func() bool { return rec.has(SuspendedEvent, addr) })
		if e, _ := rec.find(SuspendedEvent, addr); e.Reason != NoNodeAddress {
			t.Errorf("%s suspended for %s, want %s", addr, e.Reason, NoNodeAddress)
		}
		if onLink(t, p.Index(), addr) || rec.has(RestoredEvent, addr) {
			t.Errorf("%s was put back without the node's address", addr)
		}
		p.AddAddr(t, own)
		nstest.Eventually(t, addr.String()+" to be put back", func() bool { return rec.has(RestoredEvent, addr) })
		if !onLink(t, p.Index(), addr) || !b.Held(addr) {
			t.Errorf("%s isn't held after it was put back", addr)
		}
	}
}

func TestAnOwnAddressThatComesLaterGetsTheFirstPlace(t *testing.T) {
	p := dualStack(t)
	second := netip.MustParseAddr("192.0.2.11")
	b, _ := start(t, Options{Lifetime: calm})
	mustBind(t, b, p.Index(), vip4, second)
	steps := []struct {
		name string
		do   func()
		want []string
	}{
		{"replaced by the same address", func() {
			p.DelAddr(t, "192.0.2.1/24")
			p.AddAddr(t, "192.0.2.1/24")
		}, []string{"192.0.2.1/24", "192.0.2.10/32", "192.0.2.11/32"}},
		{"the first of two own addresses goes", func() {
			p.AddAddr(t, "198.51.100.1/24")
			p.DelAddr(t, "192.0.2.1/24")
		}, []string{"198.51.100.1/24", "192.0.2.10/32", "192.0.2.11/32"}},
		{"a VIP bound without an own address", func() {
			p.DelAddr(t, "198.51.100.1/24")
			p.AddAddr(t, "192.0.2.2/24")
		}, []string{"192.0.2.2/24", "192.0.2.10/32", "192.0.2.11/32"}},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			s.do()
			nstest.Eventually(t, "the own address in front", func() bool {
				return cmp.Equal(s.want, prefixes(t, p.Index(), true))
			})
			if !b.Held(vip4) || !b.Held(second) {
				t.Error("a change of order lost an address")
			}
		})
	}
}

func TestADeletedInterfaceIsReported(t *testing.T) {
	p := dualStack(t)
	var rec recorder
	b, _ := start(t, Options{Lifetime: calm, Notify: rec.notify})
	mustBind(t, b, p.Index(), vip4, vip6)
	if err := netlink.LinkDel(p.Link); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []netip.Addr{vip4, vip6} {
		nstest.Eventually(t, "report of the loss of "+addr.String(), func() bool { return rec.has(LostEvent, addr) })
		if _, ok := b.Lookup(addr); ok {
			t.Errorf("%s is still known", addr)
		}
	}
}

func TestALinkThatGoesDownAndUpKeepsItsVIPs(t *testing.T) {
	p := dualStack(t)
	b, _ := start(t, Options{Lifetime: calm})
	// IPv6 addresses go with the link's administrative state, the node's own ones, too.
	mustBind(t, b, p.Index(), vip4, vip6)
	if err := netlink.LinkSetDown(p.Link); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(p.Link); err != nil {
		t.Fatal(err)
	}
	p.AddAddr(t, "2001:db8::1/64")
	for _, addr := range []netip.Addr{vip4, vip6} {
		nstest.Eventually(t, addr.String()+" to be held", func() bool { return b.Held(addr) && onLink(t, p.Index(), addr) })
	}
}

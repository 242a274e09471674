package address

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

var (
	vip4 = netip.MustParseAddr("192.0.2.10")
	vip6 = netip.MustParseAddr("2001:db8::10")
)

// calm is for tests that are not about expiry: no stall of the machine ends these leases.
const calm = 10 * time.Minute

// recorder collects events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) notify(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// has says whether an event of that kind about addr has come.
func (r *recorder) has(kind EventKind, addr netip.Addr) bool {
	_, ok := r.find(kind, addr)
	return ok
}

func (r *recorder) find(kind EventKind, addr netip.Addr) (Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.events, func(e Event) bool { return e.Kind == kind && e.Addr == addr })
	if i < 0 {
		return Event{}, false
	}
	return r.events[i], true
}

// start makes a Binder and runs it; both end with the test, or when stop is called.
func start(t testing.TB, opts Options) (b *Binder, stop func()) {
	t.Helper()
	b, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return b, run(t, b)
}

func run(t testing.TB, b *Binder) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error("Run:", err)
			}
			if err := b.Close(); err != nil {
				t.Error("Close:", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// list returns the interface's global addresses in the kernel's order.
func list(t testing.TB, index int) []rtnl.Address {
	t.Helper()
	conn, err := rtnl.Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	all, err := conn.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(a rtnl.Address) bool { return a.Index != index || a.Scope != 0 })
}

func prefixes(t testing.TB, index int, family4 bool) []string {
	t.Helper()
	var out []string
	for _, a := range list(t, index) {
		if a.Addr().Is4() == family4 {
			out = append(out, a.Prefix.String())
		}
	}
	return out
}

func onLink(t testing.TB, index int, addr netip.Addr) bool {
	t.Helper()
	return slices.ContainsFunc(list(t, index), func(a rtnl.Address) bool { return a.Addr() == addr })
}

func mustBind(t testing.TB, b *Binder, index int, addrs ...netip.Addr) {
	t.Helper()
	for _, addr := range addrs {
		if err := b.Bind(t.Context(), Binding{Addr: addr, Interface: index, RequireOwn: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func dualStack(t testing.TB) *nstest.Pair {
	t.Helper()
	p := nstest.NewPair(t, "nic0")
	p.AddAddr(t, "192.0.2.1/24")
	p.AddAddr(t, "2001:db8::1/64")
	return p
}

func TestABoundAddressHasTheShapeAndTheMark(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	p := dualStack(t)
	b, stop := start(t, Options{})
	defer stop()
	mustBind(t, b, p.Index(), vip4, vip6)
	for _, a := range list(t, p.Index()) {
		isVIP := a.Addr() == vip4 || a.Addr() == vip6
		if Marked(a) != isVIP || Shaped(a) != isVIP || Own(a) == isVIP {
			t.Errorf("%s: marked %v, shaped %v, own %v", a.Prefix, Marked(a), Shaped(a), Own(a))
		}
		if isVIP && (a.Valid == 0 || a.Valid > 6) {
			t.Errorf("%s has a lifetime of %d s, want at most 6", a.Prefix, a.Valid)
		}
	}
	for _, addr := range []netip.Addr{vip4, vip6} {
		if !onLink(t, p.Index(), addr) || !b.Held(addr) {
			t.Errorf("%s isn't bound and held", addr)
		}
		if err := b.Bind(t.Context(), Binding{Addr: addr, Interface: p.Index()}); err != nil {
			t.Error("binding again:", err)
		}
	}
	if err := b.Unbind(t.Context(), vip4, vip6, netip.MustParseAddr("192.0.2.99")); err != nil {
		t.Error(err)
	}
	for _, addr := range []netip.Addr{vip4, vip6} {
		if onLink(t, p.Index(), addr) || b.Held(addr) {
			t.Errorf("%s is still bound", addr)
		}
	}
}

func TestBindRefusesWhatItMustNotTake(t *testing.T) {
	p := nstest.NewPair(t, "nic0")
	b, _ := start(t, Options{Lifetime: calm})
	bind := func(addr string, index int, own bool) error {
		return b.Bind(t.Context(), Binding{Addr: netip.MustParseAddr(addr), Interface: index, RequireOwn: own})
	}
	if err := bind("192.0.2.10", p.Index(), true); !errors.Is(err, ErrNoNodeAddress) {
		t.Errorf("an interface without own address: %v, want ErrNoNodeAddress", err)
	}
	if err := bind("192.0.2.10", p.Index(), false); err != nil {
		t.Errorf("an interface without own address, none required: %v", err)
	}
	p.AddAddr(t, "192.0.2.1/24")
	p.AddAddr(t, "192.0.2.20/32")
	p.AddAddr(t, "2001:db8::1/64")
	for _, tt := range []struct {
		name, addr string
		index      int
		want       error
	}{
		{"the node's own address", "192.0.2.1", p.Index(), ErrNotOurs},
		{"the node's own IPv6 address", "2001:db8::1", p.Index(), ErrNotOurs},
		{"somebody's address of the same length", "192.0.2.20", p.Index(), ErrNotOurs},
		{"an interface that isn't there", "192.0.2.11", 9999, ErrNoInterface},
		{"loopback", "127.0.0.1", p.Index(), nil},
		{"link-local", "fe80::1", p.Index(), nil},
		{"mapped", "::ffff:192.0.2.1", p.Index(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := bind(tt.addr, tt.index, false)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Bind() = %v, want %v", err, tt.want)
			}
		})
	}
	if got := prefixes(t, p.Index(), true); !slices.Contains(got, "192.0.2.1/24") || !slices.Contains(got, "192.0.2.20/32") {
		t.Errorf("a refused bind changed others' addresses: %v", got)
	}
}

func TestRenewalsKeepAnAddressPastItsLifetime(t *testing.T) {
	t.Parallel()
	p := nstest.NewPair(t, "keep0")
	p.AddAddr(t, "198.51.100.1/24")
	p.AddAddr(t, "2001:db8:1::1/64")
	v4, v6 := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:1::10")
	var rec recorder
	b, _ := start(t, Options{Lifetime: 3 * time.Second, RenewEvery: 500 * time.Millisecond, Notify: rec.notify})
	mustBind(t, b, p.Index(), v4, v6)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, addr := range []netip.Addr{v4, v6} {
			if rec.has(LostEvent, addr) {
				t.Skipf("the machine stalled for seconds, which a lease rightly doesn't survive")
			}
			if !onLink(t, p.Index(), addr) {
				t.Fatalf("%s is gone", addr)
			}
		}
	}
}

func TestWithoutRenewalsTheKernelRemovesTheAddress(t *testing.T) {
	t.Parallel()
	p := nstest.NewPair(t, "gone0")
	p.AddAddr(t, "203.0.113.1/24")
	p.AddAddr(t, "2001:db8:2::1/64")
	v4, v6 := netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8:2::10")
	b, stop := start(t, Options{Lifetime: 3 * time.Second, RenewEvery: time.Second})
	mustBind(t, b, p.Index(), v4, v6)
	stop()
	ended := time.Now()
	for _, addr := range []netip.Addr{v4, v6} {
		nstest.Eventually(t, "expiry of "+addr.String(), func() bool { return !onLink(t, p.Index(), addr) })
		t.Logf("%s gone %s after the last renewal could have been", addr, time.Since(ended).Round(10*time.Millisecond))
		if b.Held(addr) {
			t.Errorf("%s is said to be held after the kernel removed it", addr)
		}
	}
}

func TestARenewalAfterAStallLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	p := nstest.NewPair(t, "stall0")
	p.AddAddr(t, "198.18.0.1/24")
	p.AddAddr(t, "2001:db8:3::1/64")
	v4, v6 := netip.MustParseAddr("198.18.0.10"), netip.MustParseAddr("2001:db8:3::10")
	var rec recorder
	var stalling sync.Mutex
	armed, stalled := false, make(chan struct{})
	hook := func() {
		stalling.Lock()
		defer stalling.Unlock()
		if !armed {
			return
		}
		armed = false
		// Until the kernel has removed both, as it would while the process is stopped right here.
		nstest.Eventually(t, "expiry during the stall", func() bool {
			return !onLink(t, p.Index(), v4) && !onLink(t, p.Index(), v6)
		})
		close(stalled)
	}
	b, stop := start(t, Options{RenewEvery: 500 * time.Millisecond, Notify: rec.notify, BeforeRenewal: hook})
	mustBind(t, b, p.Index(), v4, v6)
	stalling.Lock()
	armed = true
	stalling.Unlock()
	<-stalled
	for _, addr := range []netip.Addr{v4, v6} {
		nstest.Eventually(t, "report of the loss of "+addr.String(), func() bool { return rec.has(LostEvent, addr) })
		if e, _ := rec.find(LostEvent, addr); e.Reason != LateRenewal {
			t.Errorf("%s lost for %s, want %s", addr, e.Reason, LateRenewal)
		}
		if onLink(t, p.Index(), addr) || b.Held(addr) {
			t.Errorf("%s came back", addr)
		}
	}
	stop()
}

func TestAHeldBackLoopReportsLossInsteadOfRenewing(t *testing.T) {
	t.Parallel()
	p := nstest.NewPair(t, "late0")
	p.AddAddr(t, "198.18.1.1/24")
	v4 := netip.MustParseAddr("198.18.1.10")
	var rec recorder
	b, err := New(Options{Lifetime: 3 * time.Second, RenewEvery: time.Second, Notify: rec.notify})
	if err != nil {
		t.Fatal(err)
	}
	mustBind(t, b, p.Index(), v4)
	// Nobody runs the loop, as in a stopped process, until the lease has ended and the address still stands.
	nstest.Eventually(t, "end of the lease", func() bool { return !b.Held(v4) })
	run(t, b)
	nstest.Eventually(t, "report of the loss", func() bool { return rec.has(LostEvent, v4) })
	if e, _ := rec.find(LostEvent, v4); e.Reason != Expired {
		t.Errorf("lost for %s, want %s", e.Reason, Expired)
	}
	if onLink(t, p.Index(), v4) {
		t.Error("the address still stands after its loss was reported")
	}
}

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

func TestTheNextProcessAdopts(t *testing.T) {
	p := dualStack(t)
	gone := netip.MustParseAddr("192.0.2.77")
	unknown := netip.MustParseAddr("192.0.2.12")
	first, stop := start(t, Options{})
	mustBind(t, first, p.Index(), vip4, vip6, unknown)
	if err := first.ExtendAll(t.Context(), 100*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := first.Bind(t.Context(), Binding{Addr: gone, Interface: p.Index()}); !errors.Is(err, ErrStopped) {
		t.Errorf("Bind() after ExtendAll = %v, want ErrStopped", err)
	}
	stop()
	for _, a := range list(t, p.Index()) {
		if Marked(a) && a.Valid < 90 {
			t.Errorf("%s has %d s left, want about 100", a.Prefix, a.Valid)
		}
	}

	second, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := second.Adopt(t.Context(), []Binding{
		{Addr: vip4, Interface: p.Index(), RequireOwn: true},
		{Addr: vip6, Interface: p.Index(), RequireOwn: true},
		{Addr: gone, Interface: p.Index(), RequireOwn: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Adoption{Adopted: []netip.Addr{vip4, vip6}, Missing: []netip.Addr{gone}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); diff != "" {
		t.Errorf("Adopt() mismatch (-want +got):\n%s", diff)
	}
	run(t, second)
	for _, a := range list(t, p.Index()) {
		if (a.Addr() == vip4 || a.Addr() == vip6) && a.Valid > 6 {
			t.Errorf("%s still has %d s left", a.Prefix, a.Valid)
		}
	}
	left, err := second.Leftovers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].Addr != unknown || !left[0].Marked || left[0].Name != "nic0" {
		t.Fatalf("Leftovers() = %+v, want only %s", left, unknown)
	}
	if err := second.RemoveLeftover(t.Context(), left[0]); err != nil {
		t.Fatal(err)
	}
	if onLink(t, p.Index(), unknown) {
		t.Error("the leftover is still there")
	}
	if err := second.RemoveLeftover(t.Context(), Leftover{Addr: vip4, Interface: p.Index()}); err != nil || !onLink(t, p.Index(), vip4) {
		t.Errorf("a held address was taken for a leftover: %v", err)
	}
}

func TestALeftoverIsBoundOverWithoutABreak(t *testing.T) {
	p := dualStack(t)
	first, stop := start(t, Options{Lifetime: calm})
	mustBind(t, first, p.Index(), vip4, vip6)
	stop()
	watch, err := rtnl.NewMonitor(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Close() }()
	second, _ := start(t, Options{Lifetime: calm})
	mustBind(t, second, p.Index(), vip4, vip6)
	if !second.Held(vip4) || !second.Held(vip6) {
		t.Error("not bound over")
	}
	// The last of the renewals is the end of what there is to see.
	for seen := map[netip.Addr]bool{}; !seen[vip4] || !seen[vip6]; {
		events, err := watch.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Address != nil && e.Removed {
				t.Errorf("%s was removed", e.Address.Prefix)
			}
			if e.Address != nil {
				seen[e.Address.Addr()] = true
			}
		}
	}
}

// netlinkAddr converts for deletion.
func netlinkAddr(a rtnl.Address) *netlink.Addr {
	parsed, err := netlink.ParseAddr(a.Prefix.String())
	if err != nil {
		panic(err)
	}
	return parsed
}

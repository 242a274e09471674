package address

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

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

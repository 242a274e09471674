package address

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

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

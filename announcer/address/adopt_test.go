package address

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

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

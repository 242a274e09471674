package probe

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestControlsStayWithinTheSubnetAndOutOfUse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr")
		addr := netip.AddrFrom16([16]byte(b))
		if rapid.Bool().Draw(t, "v4") {
			addr = netip.AddrFrom4([4]byte(b))
		}
		if addr.Is4In6() {
			t.Skip("an IPv4-mapped address")
		}
		subnet := netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()).Draw(t, "bits"))
		odd := func(a netip.Addr) bool { s := a.AsSlice(); return s[len(s)-1]%2 == 1 }
		got := Controls(subnet, addr, 2, odd)
		if host := addr.BitLen() - subnet.Bits(); host >= 5 && len(got) != 2 {
			t.Fatalf("%v in a subnet with %d host bits", got, host)
		}
		for i, a := range got {
			switch {
			case !subnet.Contains(a):
				t.Fatalf("%s is not in %s", a, subnet)
			case a == addr || odd(a) || a == subnet.Masked().Addr():
				t.Fatalf("%s is unsuitable", a)
			case a.Is4() && !subnet.Contains(a.Next()):
				t.Fatalf("%s is the broadcast of %s", a, subnet)
			case slices.Contains(got[:i], a):
				t.Fatalf("%s twice", a)
			}
		}
		if again := Controls(subnet, addr, 2, odd); !slices.Equal(got, again) {
			t.Fatalf("%v, then %v", got, again)
		}
	})
}

func TestSmallSubnetsHaveFewControlsOrNone(t *testing.T) {
	for subnet, want := range map[string]int{
		"192.0.2.0/32": 0, "192.0.2.0/31": 0, "192.0.2.0/30": 1, "2001:db8::/127": 0, "2001:db8::/64": 2,
	} {
		p := netip.MustParsePrefix(subnet)
		if got := Controls(p, p.Addr().Next(), 2, nil); len(got) != want {
			t.Errorf("%s: %v, want %d", subnet, got, want)
		}
	}
	if got := Controls(netip.MustParsePrefix("192.0.2.0/24"), vip6, 2, nil); got != nil {
		t.Errorf("%v for an address of the other family", got)
	}
}

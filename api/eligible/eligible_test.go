package eligible

import (
	"net/netip"
	"testing"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func TestRefuses(t *testing.T) {
	facts := FactsOf(&v1alpha1.VIPNode{Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
		{Name: "eth0", Carrier: true, Addresses: []string{"192.0.2.101/24", "2001:db8::101/64"}},
		{Name: "eth1", Carrier: true, Addresses: []string{"203.0.113.101/24"}},
		{Name: "eth2", Addresses: []string{"198.51.100.101/24"}},
		{Name: "eth3", Carrier: true},
	}}})
	for _, tt := range []struct {
		name  string
		addrs []netip.Addr
		names []string
		want  Refusal
	}{
		{"in the subnet of a NIC", addrs("203.0.113.10"), nil, None},
		{"a pair with its addresses on two NICs", addrs("203.0.113.10", "2001:db8::10"), nil, None},
		{"a pair of which one has no subnet here", addrs("203.0.113.10", "2001:db8:1::10"), nil, NoSubnet},
		{"a pair of which one has no carrier", addrs("198.51.100.10", "2001:db8::10"), nil, NoCarrier},
		{"a missing subnet outranks a missing carrier", addrs("198.51.100.10", "2001:db8:1::10"), nil, NoSubnet},
		{"outside of all subnets", addrs("10.1.2.3"), nil, NoSubnet},
		{"outside of all subnets on a named NIC", addrs("10.1.2.3"), []string{"eth3"}, None},
		{"any of the named NICs does", addrs("10.1.2.3"), []string{"eth9", "eth2", "eth1"}, None},
		{"the named ones have no carrier", addrs("192.0.2.10"), []string{"eth9", "eth2"}, NoCarrier},
		{"none of the named ones is there", addrs("192.0.2.10"), []string{"eth9"}, NoInterface},
		{"a pair on a named NIC that has an address of neither family", addrs("10.1.2.3", "2001:db8:9::1"), []string{"eth3"}, None},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := facts.Refuses(tt.addrs, tt.names); got != tt.want {
				t.Errorf("Refuses() = %q, want %q", got, tt.want)
			}
		})
	}
}

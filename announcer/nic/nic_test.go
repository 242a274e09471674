package nic

import (
	"net/netip"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestForVIP(t *testing.T) {
	eth0 := NIC{Name: "eth0", Carrier: true, Addresses: prefixes("192.0.2.1/24", "2001:db8::1/64")}
	eth1 := NIC{Name: "eth1", Carrier: true, Addresses: prefixes("192.0.2.129/25", "198.51.100.1/24")}
	twin := NIC{Name: "eth2", Carrier: true, Addresses: prefixes("192.0.2.2/24")}
	dark := NIC{Name: "eth3", Addresses: prefixes("203.0.113.1/24", "192.0.2.130/26")}
	bare := NIC{Name: "bond0", Carrier: true}
	all := []NIC{twin, eth1, eth0, dark, bare}
	for _, tt := range []struct {
		name       string
		addr       string
		interfaces []string
		want       string
		reason     Reason
	}{
		{"the subnet decides", "198.51.100.7", nil, "eth1", ""},
		{"IPv6", "2001:db8::7", nil, "eth0", ""},
		{"the longest prefix with a carrier wins", "192.0.2.200", nil, "eth1", ""},
		{"then the first name", "192.0.2.10", nil, "eth0", ""},
		{"no subnet", "10.0.0.1", nil, "", NoInterface},
		{"only an interface without carrier", "203.0.113.7", nil, "", NoCarrier},
		{"named interfaces replace the subnet match", "10.0.0.1", []string{"bond0"}, "bond0", ""},
		{"the first named one that works", "10.0.0.1", []string{"none", "eth3", "eth2", "eth0"}, "eth2", ""},
		{"named without carrier", "10.0.0.1", []string{"none", "eth3"}, "", NoCarrier},
		{"named and missing", "192.0.2.10", []string{"none"}, "", InterfaceMissing},
		{"the node's own address", "192.0.2.129", []string{"eth0"}, "", NodeAddress},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, reason := ForVIP(all, netip.MustParseAddr(tt.addr), tt.interfaces)
			if got.Name != tt.want || reason != tt.reason {
				t.Errorf("ForVIP() = %q, %q, want %q, %q", got.Name, reason, tt.want, tt.reason)
			}
		})
	}
	if !eth0.HasFamily(netip.MustParseAddr("2001:db8:9::1")) || eth1.HasFamily(netip.MustParseAddr("2001:db8::1")) {
		t.Error("HasFamily() is wrong")
	}
}

func TestFilter(t *testing.T) {
	custom, err := ParseFilter("eth[01]|bond.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name            string
		byDefault, only bool
	}{
		{"eth0", true, true},
		{"eth0x", true, false},
		{"bond0.12", true, true},
		{"enp129s0f1np1", true, false},
		{"br0", true, false},
		{"lo", false, false},
		{"docker0", false, false},
		{"br-0123456789ab", false, false},
		{"cni0", false, false},
		{"veth12ab", false, false},
		{"cali0123", false, false},
		{"flannel.1", false, false},
		{"kube-ipvs0", false, false},
		{"virbr0", false, false},
		{"dummy0", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Filter{}).Allows(tt.name); got != tt.byDefault {
				t.Errorf("default allows: %v, want %v", got, tt.byDefault)
			}
			if got := custom.Allows(tt.name); got != tt.only {
				t.Errorf("expression allows: %v, want %v", got, tt.only)
			}
		})
	}
	if _, err := ParseFilter("("); err == nil {
		t.Error("a broken expression is accepted")
	}
}

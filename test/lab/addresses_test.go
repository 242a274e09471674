package lab

import (
	"net/netip"
	"testing"
)

func TestHostAddresses(t *testing.T) {
	free := netip.MustParsePrefix("2001:db8::/112")
	seen := make(map[netip.Addr]int)
	for host := 1; host <= 254; host++ {
		v4, v6 := host4(SegmentV4, host), host6(SegmentV6, host)
		if !SegmentV4.Contains(v4.Addr()) || !SegmentV6.Contains(v6.Addr()) || v4.Bits() != 24 || v6.Bits() != 64 {
			t.Errorf("host %d: %s and %s are not of the segment", host, v4, v6)
		}
		if free.Contains(v6.Addr()) {
			t.Errorf("host %d: %s is in the range that is free for pools", host, v6)
		}
		for _, a := range []netip.Addr{v4.Addr(), v6.Addr()} {
			if other, ok := seen[a]; ok {
				t.Errorf("hosts %d and %d share %s", host, other, a)
			}
			seen[a] = host
		}
	}
	if got := host6(SegmentV6, 137).Addr().String(); got != "2001:db8::1:137" {
		t.Errorf("host 137 is %s: want it to read like its IPv4 address", got)
	}
}

func TestPodCIDRs(t *testing.T) {
	seen := make(map[netip.Prefix]bool)
	for i := 1; i <= maxNodes; i++ {
		v4, v6 := podCIDRs(i)
		if !PodsV4.Overlaps(v4) || !PodsV6.Overlaps(v6) || seen[v4] || seen[v6] {
			t.Errorf("node %d: %s and %s are outside the pods' ranges or another node's", i, v4, v6)
		}
		seen[v4], seen[v6] = true, true
	}
}

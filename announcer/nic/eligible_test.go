package nic

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/eligible"
)

// TestTheControllerAndTheSchedulerKnowWhatAnAnnouncerPicks: standbys ask the NIC that the controller names, and the scheduler binds
// nothing to a node that can't announce it.
func TestTheControllerAndTheSchedulerKnowWhatAnAnnouncerPicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nics []NIC
		var facts eligible.Facts
		for i := range rapid.IntRange(0, 4).Draw(t, "NICs") {
			n := NIC{Name: fmt.Sprint("eth", i), Carrier: rapid.Bool().Draw(t, "carrier")}
			one := eligible.NIC{Name: n.Name, Carrier: n.Carrier}
			for range rapid.IntRange(0, 2).Draw(t, "addresses") {
				// Few subnets, nested ones among them. Own addresses are odd, VIPs even.
				own := netip.AddrFrom4([4]byte{192, 0, byte(rapid.IntRange(0, 1).Draw(t, "subnet")), byte(2*rapid.IntRange(0, 120).Draw(t, "host") + 1)})
				prefix := netip.PrefixFrom(own, rapid.SampledFrom([]int{22, 24, 25}).Draw(t, "bits"))
				n.Addresses = append(n.Addresses, prefix)
				one.Prefixes = append(one.Prefixes, prefix.Masked())
			}
			nics, facts.NICs = append(nics, n), append(facts.NICs, one)
		}
		addr := netip.AddrFrom4([4]byte{192, 0, byte(rapid.IntRange(0, 1).Draw(t, "VIP's subnet")), byte(2 * rapid.IntRange(1, 120).Draw(t, "VIP"))})
		names := rapid.SampledFrom([][]string{nil, {"eth1"}, {"eth2", "eth0"}, {"eth9", "eth3", "eth1"}}).Draw(t, "interfaces")

		got, reason := ForVIP(nics, addr, names)
		if refused := facts.Refuses([]netip.Addr{addr}, names); (refused == eligible.None) != (reason == "") {
			t.Fatalf("ForVIP says %q, Refuses %q", reason, refused)
		}
		if at, ok := facts.Choose(addr, names); reason == "" && (!ok || facts.NICs[at].Name != got.Name) {
			t.Fatalf("ForVIP picks %s, Choose %d (%v)", got.Name, at, ok)
		}
	})
}

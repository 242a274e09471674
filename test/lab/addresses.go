package lab

import (
	"fmt"
	"net/netip"
)

// The lab's address plan. 192.0.2.10 to .99 and 2001:db8::/112 are free for pools.
var (
	// SegmentV4 and SegmentV6 are the subnets of the segment.
	SegmentV4 = netip.MustParsePrefix("192.0.2.0/24")
	SegmentV6 = netip.MustParsePrefix("2001:db8::/64")
	// FarV4 and FarV6 are the subnets behind the router.
	FarV4 = netip.MustParsePrefix("198.51.100.0/24")
	FarV6 = netip.MustParsePrefix("2001:db8:ffff::/64")
	// PodsV4 and PodsV6 hold a subnet per node.
	PodsV4 = netip.MustParsePrefix("10.244.0.0/16")
	PodsV6 = netip.MustParsePrefix("fd00:10:244::/48")
	// ServicesV4 and ServicesV6 hold the ClusterIPs.
	ServicesV4 = netip.MustParsePrefix("10.96.0.0/16")
	ServicesV6 = netip.MustParsePrefix("fd00:10:96::/112")
)

// Hosts of the segment, the last byte of their addresses; node i has nodeHost+i
// with i from 1.
const (
	routerHost       = 1
	controlPlaneHost = 2
	clientHost       = 3
	nodeHost         = 100
	// foreignHost is the first of the foreign machines.
	foreignHost = 230
	maxNodes    = foreignHost - nodeHost - 1
)

// The management link between the lab's own namespace and the control plane: no
// fault of the segment touches it.
var (
	managementHost   = netip.MustParsePrefix("198.18.0.1/30")
	managementServer = netip.MustParsePrefix("198.18.0.2/30")
)

// The link between a node and its pods' namespace, the same on every node.
var (
	podLinkNodeV4 = netip.MustParsePrefix("169.254.244.1/30")
	podLinkPodsV4 = netip.MustParsePrefix("169.254.244.2/30")
	podLinkNodeV6 = netip.MustParsePrefix("fd00:169:254:244::1/64")
	podLinkPodsV6 = netip.MustParsePrefix("fd00:169:254:244::2/64")
)

// serviceHost is the ClusterIP of the kubernetes Service.
var serviceHost = ServicesV4.Addr().Next()

// host4 and host6 are a host's addresses within the given subnets. The IPv6
// address reads like the IPv4 one: 192.0.2.101 and 2001:db8::1:101.
func host4(p netip.Prefix, host int) netip.Prefix {
	a := p.Addr().As4()
	a[3] = byte(host)
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
}

func host6(p netip.Prefix, host int) netip.Prefix {
	a := p.Addr().As16()
	digits := host/100<<8 | host/10%10<<4 | host%10
	a[13] = 1
	a[14], a[15] = byte(digits>>8), byte(digits)
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
}

// podCIDRs are the pod ranges of node i.
func podCIDRs(i int) (v4, v6 netip.Prefix) {
	a4 := PodsV4.Addr().As4()
	a4[2] = byte(i)
	a6 := PodsV6.Addr().As16()
	a6[6], a6[7] = byte(i>>8), byte(i)
	return netip.PrefixFrom(netip.AddrFrom4(a4), 24), netip.PrefixFrom(netip.AddrFrom16(a6), 64)
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i) }

package nic

import (
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Unreachable says whether the kernel has asked for addr behind a NIC, by its index, and nobody has answered (NUD_FAILED). What the
// kernel doesn't know, or can't tell, isn't unreachable.
func Unreachable(addr netip.Addr, ifindex int) bool {
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	neighbours, err := netlink.NeighList(ifindex, family)
	if err != nil {
		return false
	}
	for _, n := range neighbours {
		if known, ok := netip.AddrFromSlice(n.IP); ok && known.Unmap() == addr {
			return n.State&netlink.NUD_FAILED != 0
		}
	}
	return false
}

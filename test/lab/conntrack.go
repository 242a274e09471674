package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tracked returns the clients' ends of the TCP connections to an address and port that conntrack knows in the namespace.
func (n *Netns) Tracked(to netip.AddrPort) (map[netip.AddrPort]bool, error) {
	family := netlink.InetFamily(unix.AF_INET)
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	var flows []*netlink.ConntrackFlow
	err := n.Do(func() (err error) {
		flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, family)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing conntrack entries of %s: %w", n.name, err)
	}
	clients := map[netip.AddrPort]bool{}
	for _, f := range flows {
		client, ok := netip.AddrFromSlice(f.Forward.SrcIP)
		dst, ok2 := netip.AddrFromSlice(f.Forward.DstIP)
		if ok && ok2 && f.Forward.Protocol == unix.IPPROTO_TCP && netip.AddrPortFrom(dst.Unmap(), f.Forward.DstPort) == to {
			clients[netip.AddrPortFrom(client.Unmap(), f.Forward.SrcPort)] = true
		}
	}
	return clients, nil
}

package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Host is a machine on the segment, or behind the router.
type Host struct {
	*Netns
	// V4 and V6 are the host's own addresses, MAC its NIC's.
	V4, V6 netip.Addr
	MAC    net.HardwareAddr
}

// defaultRoutes lead out through the segment's router.
func defaultRoutes(v4, v6 netip.Addr) []route {
	return []route{
		{dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), via: v4, dev: nic},
		{dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0), via: v6, dev: nic},
	}
}

// newHost makes a host on the segment that routes through the segment's router.
func newHost(name string, number int) (*Host, error) {
	ns, err := newNetns(name)
	if err != nil {
		return nil, err
	}
	h := &Host{Netns: ns, V4: host4(SegmentV4, number).Addr(), V6: host6(SegmentV6, number).Addr()}
	return h, h.join(number)
}

// join plugs the host in.
func (h *Host) join(number int) error {
	var err error
	if h.MAC, err = h.plug(number); err != nil {
		return err
	}
	return h.addRoutes(defaultRoutes(host4(SegmentV4, routerHost).Addr(), host6(SegmentV6, routerHost).Addr())...)
}

// newRouter makes the segment's router and a host behind it.
func newRouter() (router, far *Host, err error) {
	ns, err := newNetns("router")
	if err != nil {
		return nil, nil, err
	}
	router = &Host{Netns: ns, V4: host4(SegmentV4, routerHost).Addr(), V6: host6(SegmentV6, routerHost).Addr()}
	if router.MAC, err = ns.plug(routerHost); err != nil {
		return nil, nil, err
	}
	farNS, err := newNetns("far-client")
	if err != nil {
		return nil, nil, err
	}
	far = &Host{Netns: farNS, V4: host4(FarV4, clientHost).Addr(), V6: host6(FarV6, clientHost).Addr()}
	if err := connect(ns, "eth1", farNS, nic); err != nil {
		return nil, nil, err
	}
	if err := ns.setUp("eth1", host4(FarV4, routerHost), host6(FarV6, routerHost)); err != nil {
		return nil, nil, err
	}
	if err := farNS.setUp(nic, host4(FarV4, clientHost), host6(FarV6, clientHost)); err != nil {
		return nil, nil, err
	}
	err = farNS.netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(nic)
		if err != nil {
			return fmt.Errorf("finding %s of %s: %w", nic, farNS.name, err)
		}
		far.MAC = link.Attrs().HardwareAddr
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if err := farNS.addRoutes(defaultRoutes(host4(FarV4, routerHost).Addr(), host6(FarV6, routerHost).Addr())...); err != nil {
		return nil, nil, err
	}
	return router, far, ns.forward()
}

// forward makes the namespace pass packets on.
func (n *Netns) forward() error {
	return n.Do(func() error {
		for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
			if err := setSysctl(key, "1"); err != nil {
				return err
			}
		}
		return nil
	})
}

package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// nic is the name of a host's interface on the segment.
const nic = "eth0"

// segmentBridge is the switch. It has no addresses and takes no part in IP.
const segmentBridge = "segment"

// newSegment makes the switch in the calling process' own namespace.
func newSegment() error {
	// A bridged frame is not to pass this namespace's netfilter.
	for _, s := range [][2]string{
		{"net/ipv6/conf/default/disable_ipv6", "1"},
		// This namespace is the switch: it answers for no address on the segment.
		{"net/ipv4/conf/default/arp_ignore", "1"},
	} {
		if err := setSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	for _, key := range []string{"arptables", "iptables", "ip6tables"} {
		// Absent where the kernel lacks br_netfilter, which is as good.
		_ = setSysctl("net/bridge/bridge-nf-call-"+key, "0")
	}
	if err := newSwitch(segmentBridge); err != nil {
		return fmt.Errorf("making the segment: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding lo: %w", err)
	}
	return netlink.LinkSetUp(lo)
}

// newSwitch makes a bridge that is up.
func newSwitch(name string) error {
	off := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: &off}
	bridge.Name = name
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making bridge %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("raising bridge %s: %w", name, err)
	}
	return nil
}

// portName is the name of a host's port at the switch.
func portName(host string) string { return "p-" + host }

// plug gives the namespace a NIC on the segment, with the host's addresses, and
// returns its MAC.
func (n *Netns) plug(host int) (net.HardwareAddr, error) {
	bridge, err := netlink.LinkByName(segmentBridge)
	if err != nil {
		return nil, fmt.Errorf("finding the segment: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = portName(n.name)
	attrs.MasterIndex = bridge.Attrs().Index
	// A MAC that a person can tell the host from, and that is the same again
	// after a power loss.
	mac := net.HardwareAddr{0x02, 0, 0, 0, 0, byte(host)}
	veth := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         nic,
		PeerHardwareAddr: mac,
		PeerNamespace:    netlink.NsFd(int(n.handle)),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return nil, fmt.Errorf("plugging %s in: %w", n.name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return nil, fmt.Errorf("raising the port of %s: %w", n.name, err)
	}
	if err := n.setUp(nic, host4(SegmentV4, host), host6(SegmentV6, host)); err != nil {
		return nil, err
	}
	return mac, nil
}

// setUp raises an interface and gives it addresses.
func (n *Netns) setUp(name string, addresses ...netip.Prefix) error {
	return n.netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("finding %s of %s: %w", name, n.name, err)
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("raising %s of %s: %w", name, n.name, err)
		}
		for _, p := range addresses {
			if err := h.AddrReplace(link, address(p)); err != nil {
				return fmt.Errorf("adding %s to %s of %s: %w", p, name, n.name, err)
			}
		}
		return nil
	})
}

// address is an interface address without duplicate detection.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// route is one route of a namespace.
type route struct {
	dst netip.Prefix
	// via is the next hop; without it the route is direct.
	via netip.Addr
	dev string
	// local makes every address of dst the namespace's own.
	local bool
}

func (n *Netns) addRoutes(routes ...route) error {
	return n.netlink(func(h *netlink.Handle) error {
		for _, r := range routes {
			link, err := h.LinkByName(r.dev)
			if err != nil {
				return fmt.Errorf("finding %s of %s: %w", r.dev, n.name, err)
			}
			nr := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.dst)}
			if r.via.IsValid() {
				nr.Gw = r.via.AsSlice()
			}
			if r.local {
				nr.Type, nr.Table, nr.Scope = unix.RTN_LOCAL, unix.RT_TABLE_LOCAL, netlink.SCOPE_HOST
			}
			if err := h.RouteReplace(nr); err != nil {
				return fmt.Errorf("routing %s via %s %s in %s: %w", r.dst, r.via, r.dev, n.name, err)
			}
		}
		return nil
	})
}

// connect makes a link between two namespaces; a nil one is the lab's own.
func connect(a *Netns, nameA string, b *Netns, nameB string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	if a != nil {
		attrs.Namespace = netlink.NsFd(int(a.handle))
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.handle))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("linking %s to %s: %w", nameA, nameB, err)
	}
	return nil
}

// Bridge port states (include/uapi/linux/if_bridge.h).
const (
	bridgeStateDisabled   = 0
	bridgeStateForwarding = 3
)

// setPortState changes whether the switch forwards on a port. Both ends keep
// their carrier.
func setPortState(port string, state byte) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return fmt.Errorf("finding port %s: %w", port, err)
	}
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(link.Attrs().Index)
	req.AddData(msg)
	protinfo := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	protinfo.AddRtAttr(nl.IFLA_BRPORT_STATE, []byte{state})
	req.AddData(protinfo)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("setting port %s to state %d: %w", port, state, err)
	}
	return nil
}

// setPortUp raises or lowers a port; lowered, the host loses its carrier.
func setPortUp(port string, up bool) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return fmt.Errorf("finding port %s: %w", port, err)
	}
	set := netlink.LinkSetDown
	if up {
		set = netlink.LinkSetUp
	}
	if err := set(link); err != nil {
		return fmt.Errorf("switching port %s: %w", port, err)
	}
	return nil
}

// deleteLink removes a link of the lab's own namespace with its other end.
func deleteLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return nil
}

// raiseManagement sets up the lab's own end of the link to the control plane.
func raiseManagement() error {
	link, err := netlink.LinkByName("management")
	if err != nil {
		return fmt.Errorf("finding the management link: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("raising the management link: %w", err)
	}
	if err := netlink.AddrReplace(link, address(managementHost)); err != nil {
		return fmt.Errorf("adding the management address: %w", err)
	}
	return nil
}

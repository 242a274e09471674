package nstest

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Segment is a bridge in the tests' namespace, with hosts in namespaces of their own.
type Segment struct {
	bridge netlink.Link
	hosts  int
}

// Host is one of them. Its NIC is called "eth0".
type Host struct {
	NS     netns.NsHandle
	Handle *netlink.Handle
	Link   netlink.Link
	MAC    net.HardwareAddr
}

// NewSegment creates a bridge. It is gone after the test, with all of its hosts.
func NewSegment(t testing.TB) *Segment {
	t.Helper()
	Require(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	bridge.Name = "segment"
	check(t, netlink.LinkAdd(bridge))
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	check(t, netlink.LinkSetUp(bridge))
	return &Segment{bridge: bridge}
}

// Host adds a host with permanent addresses such as "192.0.2.1/24".
func (s *Segment) Host(t testing.TB, cidrs ...string) *Host {
	t.Helper()
	s.hosts++
	h := &Host{NS: newNS(t), MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(s.hosts)}}
	var err error
	h.Handle, err = netlink.NewHandleAt(h.NS)
	check(t, err)
	t.Cleanup(h.Handle.Close)
	port := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth0", PeerHardwareAddr: h.MAC}
	port.Name, port.MasterIndex = fmt.Sprint("port", s.hosts), s.bridge.Attrs().Index
	port.PeerNamespace = netlink.NsFd(h.NS)
	check(t, netlink.LinkAdd(port))
	t.Cleanup(func() { _ = netlink.LinkDel(port) })
	check(t, netlink.LinkSetUp(port))
	for _, name := range []string{"lo", "eth0"} {
		h.Link, err = h.Handle.LinkByName(name)
		check(t, err)
		check(t, h.Handle.LinkSetUp(h.Link))
	}
	// Until the kernel has taken notice of the carrier, in its own time, both ends drop what they are to send.
	Eventually(t, "carrier on "+port.Name, func() bool {
		here, err := netlink.LinkByIndex(port.Index)
		there, err2 := h.Handle.LinkByName("eth0")
		return err == nil && err2 == nil && here.Attrs().OperState == netlink.OperUp && there.Attrs().OperState == netlink.OperUp
	})
	for _, cidr := range cidrs {
		h.AddAddr(t, cidr)
	}
	return h
}

// AddAddr adds a permanent address without duplicate address detection.
func (h *Host) AddAddr(t testing.TB, cidr string) {
	t.Helper()
	check(t, h.Handle.AddrAdd(h.Link, address(cidr)))
}

// DelAddr removes an address.
func (h *Host) DelAddr(t testing.TB, cidr string) {
	t.Helper()
	check(t, h.Handle.AddrDel(h.Link, address(cidr)))
}

// Neighbour makes the host believe that addr is at a MAC address, as an announcement does.
func (h *Host) Neighbour(t testing.TB, addr netip.Addr, mac net.HardwareAddr) {
	t.Helper()
	check(t, h.Handle.NeighSet(&netlink.Neigh{
		LinkIndex: h.Link.Attrs().Index, State: netlink.NUD_REACHABLE, IP: addr.AsSlice(), HardwareAddr: mac,
	}))
}

// Index is the NIC's interface index in the host's namespace.
func (h *Host) Index() int { return h.Link.Attrs().Index }

// In runs f on a thread within the host's namespace. What f opens stays there.
func (h *Host) In(t testing.TB, f func()) {
	t.Helper()
	within(t, h.NS, f)
}

package nickind

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// TestEachKindReachesTheOthers attaches a host of each kind to one switch, and has a plain one find their addresses by ARP.
func TestEachKindReachesTheOthers(t *testing.T) {
	for _, kind := range All() {
		t.Run(string(kind), func(t *testing.T) {
			nstest.Require(t)
			if err := kind.Supported(); err != nil {
				t.Skipf("NOT TESTED: %v", err)
			}
			bridge := &netlink.Bridge{LinkAttrs: named("switch")}
			check(t, netlink.LinkAdd(bridge))
			t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
			check(t, netlink.LinkSetUp(bridge))
			elsewhere := nstest.NewSegment(t)
			asker := host(t, bridge, elsewhere, "asker", Plain, 1)
			other := host(t, bridge, elsewhere, "other", kind, 2)
			link, err := other.Handle.LinkByName(kind.Interface("eth1"))
			check(t, err)
			if got := link.Attrs().HardwareAddr.String(); got != "02:00:00:00:01:02" {
				t.Errorf("%s has MAC %s", link.Attrs().Name, got)
			}
			from, err := asker.Handle.LinkByName("eth1")
			check(t, err)
			nstest.Eventually(t, "an answer by ARP", func() bool {
				nudge(t, asker)
				list, err := asker.Handle.NeighList(from.Attrs().Index, netlink.FAMILY_V4)
				check(t, err)
				for _, one := range list {
					if one.IP.Equal(net.IPv4(203, 0, 113, 2)) && one.HardwareAddr.String() == "02:00:00:00:01:02" {
						return true
					}
				}
				return false
			})
			for _, port := range kind.Ports("other") {
				l, err := netlink.LinkByName(port)
				check(t, err)
				check(t, netlink.LinkSetDown(l))
			}
			nstest.Eventually(t, "the carrier to be lost", func() bool {
				link, err := other.Handle.LinkByName(kind.Interface("eth1"))
				check(t, err)
				return link.Attrs().OperState != netlink.OperUp
			})
		})
	}
}

// host makes a namespace that is attached to a switch, with the address 203.0.113.NUMBER.
func host(t *testing.T, bridge netlink.Link, elsewhere *nstest.Segment, name string, kind Kind, number byte) *nstest.Host {
	t.Helper()
	h := elsewhere.Host(t)
	mac := net.HardwareAddr{2, 0, 0, 0, 1, number}
	check(t, Attach(Options{
		Kind: kind, Switch: bridge.Attrs().Index, Port: name, Namespace: int(h.NS), Inside: h.Handle, First: "eth1", MAC: mac,
	}))
	t.Cleanup(func() {
		for _, port := range kind.Ports(name) {
			if l, err := netlink.LinkByName(port); err == nil {
				_ = netlink.LinkDel(l)
			}
		}
	})
	link, err := h.Handle.LinkByName(kind.Interface("eth1"))
	check(t, err)
	check(t, h.Handle.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(203, 0, 113, number), Mask: net.CIDRMask(24, 32)}}))
	return h
}

// nudge makes a host look for 203.0.113.2.
func nudge(t *testing.T, h *nstest.Host) {
	t.Helper()
	h.In(t, func() {
		conn, err := net.Dial("udp4", "203.0.113.2:9")
		check(t, err)
		_, _ = conn.Write([]byte("x"))
		_ = conn.Close()
	})
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

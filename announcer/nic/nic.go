// Package nic knows the node's network interfaces: which there are, whether they work, and which addresses the node
// has of its own. It decides which interface a VIP belongs on.
package nic

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// NIC is one interface that may carry VIPs. It is a value: nobody changes one that has been handed out.
type NIC struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	// Up is the administrative state.
	Up bool
	// Carrier says that frames can be sent and received.
	Carrier bool
	// SpeedMbps is the link's speed in Mbit/s, 0 if it is unknown, as it is for most virtual interfaces.
	SpeedMbps int64
	// Addresses are the node's own global addresses with their prefix lengths, sorted, without VIPs.
	Addresses []netip.Prefix
}

// HasFamily says whether the interface has an own address of addr's family.
func (n NIC) HasFamily(addr netip.Addr) bool {
	return slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() == addr.Is4() })
}

// equal says whether nothing that is reported differs.
func (n NIC) equal(o NIC) bool {
	return n.Name == o.Name && n.Index == o.Index && bytes.Equal(n.MAC, o.MAC) && n.Up == o.Up &&
		n.Carrier == o.Carrier && n.SpeedMbps == o.SpeedMbps && slices.Equal(n.Addresses, o.Addresses)
}

// Reason says why no interface can carry a VIP.
type Reason string

const (
	// NoInterface: no interface has an own address in a subnet that contains the VIP.
	NoInterface Reason = "NoInterface"
	// InterfaceMissing: the node has none of the interfaces that the pool names.
	InterfaceMissing Reason = "InterfaceMissing"
	// NoCarrier: the interfaces that could carry the VIP have no link.
	NoCarrier Reason = "NoCarrier"
	// NodeAddress: the address is the node's own.
	NodeAddress Reason = "NodeAddress"
)

// ForVIP chooses the interface for a VIP. With interfaces it is the first of those names that the node has and that
// has a carrier. Without, it is the interface whose own subnet contains the VIP: of several the one with the longest
// prefix, then the first by name. The Reason is empty if one was found.
func ForVIP(nics []NIC, addr netip.Addr, interfaces []string) (NIC, Reason) {
	for _, n := range nics {
		for _, p := range n.Addresses {
			if p.Addr() == addr {
				return NIC{}, NodeAddress
			}
		}
	}
	if len(interfaces) > 0 {
		return named(nics, interfaces)
	}
	best, bits, dark := NIC{}, -1, false
	for _, n := range nics {
		b := coverage(n, addr)
		switch {
		case b < 0:
		case !n.Carrier:
			dark = true
		case b > bits, b == bits && strings.Compare(n.Name, best.Name) < 0:
			best, bits = n, b
		}
	}
	switch {
	case bits >= 0:
		return best, ""
	case dark:
		return NIC{}, NoCarrier
	}
	return NIC{}, NoInterface
}

func named(nics []NIC, interfaces []string) (NIC, Reason) {
	reason := InterfaceMissing
	for _, name := range interfaces {
		for _, n := range nics {
			switch {
			case n.Name != name:
			case n.Carrier:
				return n, ""
			default:
				reason = NoCarrier
			}
		}
	}
	return NIC{}, reason
}

// coverage is the length of the longest own prefix of n that contains addr, -1 if none does.
func coverage(n NIC, addr netip.Addr) int {
	bits := -1
	for _, p := range n.Addresses {
		if p.Contains(addr) {
			bits = max(bits, p.Bits())
		}
	}
	return bits
}

// OwnAddress picks the NIC's own address to ask another machine for addr from: the one in addr's subnet, else any of its family,
// else the invalid address.
func (n NIC) OwnAddress(addr netip.Addr) netip.Addr {
	var other netip.Addr
	for _, prefix := range n.Addresses {
		switch {
		case prefix.Addr().Is4() != addr.Is4():
		case prefix.Contains(addr):
			return prefix.Addr()
		case !other.IsValid():
			other = prefix.Addr()
		}
	}
	return other
}

// Package wire holds what the ARP and the NDP side share: MAC addresses as
// values, what was heard about an IP address, and the packet socket of one
// interface and one EtherType.
package wire

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// EtherTypes and the length of an Ethernet II header without a VLAN tag.
const (
	EtherTypeARP  = 0x0806
	EtherTypeIPv6 = 0x86dd
	HeaderLen     = 14
)

// MAC is an Ethernet address. It is comparable, so it serves as a map key.
type MAC [6]byte

// Broadcast is the Ethernet broadcast address.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Compare orders MAC addresses by their octets.
func (m MAC) Compare(o MAC) int { return slices.Compare(m[:], o[:]) }

// ParseMAC parses the textual form of an Ethernet address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, fmt.Errorf("parsing MAC %q: %w", s, err)
	}
	m, ok := MACFrom(hw)
	if !ok {
		return MAC{}, fmt.Errorf("parsing MAC %q: %d octets, want 6", s, len(hw))
	}
	return m, nil
}

// MACFrom converts a slice of exactly six octets.
func MACFrom(hw []byte) (MAC, bool) {
	if len(hw) != 6 {
		return MAC{}, false
	}
	return MAC(hw), true
}

// String returns the colon form, for example "02:00:00:00:00:01".
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// HardwareAddr returns a copy in the form that package net uses.
func (m MAC) HardwareAddr() net.HardwareAddr { return net.HardwareAddr(m[:]) }

// IsZero reports whether m is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsStation reports whether m can be the address of one machine: neither zero
// nor a group address.
func (m MAC) IsStation() bool { return !m.IsZero() && m[0]&1 == 0 }

// Kind says in what way an address was spoken of.
type Kind uint8

const (
	// Answer is a reply to somebody's question: "Addr is at MAC".
	Answer Kind = iota + 1
	// Claim is an unasked announcement: gratuitous ARP, unsolicited
	// neighbour advertisement.
	Claim
	// Use is a question for another address asked from Addr: its sender
	// believes that it owns Addr, but does not announce it.
	Use
	// Probe asks for Addr without owning it yet (sender 0.0.0.0 or ::): the
	// sender wants to take it if nobody answers.
	Probe
)

// String returns the lower-case name.
func (k Kind) String() string {
	switch k {
	case Answer:
		return "answer"
	case Claim:
		return "claim"
	case Use:
		return "use"
	case Probe:
		return "probe"
	default:
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
}

// Heard is what one frame of another machine said about one IP address.
type Heard struct {
	// Addr is the address spoken of. It has no zone.
	Addr netip.Addr
	// MAC is where Addr is said to be, as the protocol says it: the ARP sender
	// hardware address, the link-layer address option. With Probe it is the
	// machine that wants Addr.
	MAC MAC
	// Source is the Ethernet source: the machine whose frame it was. It
	// differs from MAC for proxies and for virtual MACs (VRRP).
	Source MAC
	// Kind says in what way Addr was spoken of.
	Kind Kind
	// Title is the sender's title to Addr. Only an announcement of another announcer has one, which Titled says.
	Title  Title
	Titled bool
	// Direct says that the frame was for this machine alone. A broadcast answer may have been sent by anybody on behalf of Source.
	Direct bool
	// At is when the kernel received the frame, with a monotonic reading.
	At time.Time
}

// Owner reports whether the sender of h holds Addr, or says so: everything but
// a probe.
func (h Heard) Owner() bool { return h.Kind != Probe }

// IsClaim reports whether h announces Addr without having been asked.
func (h Heard) IsClaim() bool { return h.Kind == Claim }

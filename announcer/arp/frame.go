// Package arp speaks ARP (RFC 826) and address conflict detection (RFC 5227)
// on one Ethernet interface: frames to and from bytes, and a connection.
package arp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// Op is the ARP operation.
type Op uint16

// The two operations that matter for IPv4 (RFC 826); the others are refused.
const (
	Request Op = 1
	Reply   Op = 2
)

// String returns the lower-case name.
func (o Op) String() string {
	switch o {
	case Request:
		return "request"
	case Reply:
		return "reply"
	default:
		return fmt.Sprintf("op(%d)", uint16(o))
	}
}

const (
	payloadLen = 28
	frameLen   = wire.HeaderLen + payloadLen
	// minFrameLen is the shortest Ethernet frame without its checksum; a NIC
	// pads, some virtual ones don't and some receivers mind.
	minFrameLen = 60

	hardwareEthernet = 1
)

var errMalformed = errors.New("malformed ARP frame")

// Frame is an Ethernet frame with an ARP packet for IPv4 over Ethernet.
type Frame struct {
	// Source and Dest are the Ethernet addresses.
	Source, Dest wire.MAC
	Op           Op
	SenderMAC    wire.MAC
	SenderIP     netip.Addr
	TargetMAC    wire.MAC
	TargetIP     netip.Addr
	// Title is in the padding of an announcement by an announcer, and of a probe by one that holds the address; Titled says whether
	// there is one.
	Title  wire.Title
	Titled bool
	// At is when the frame was received; zero for frames to send.
	At time.Time
}

// Parse reads an Ethernet frame. It is strict: anything but an ARP request or
// reply for IPv4 over Ethernet from a possible sender is an error. What the
// Ethernet source says may differ from the sender hardware address. Padding is
// allowed.
func Parse(b []byte) (Frame, error) {
	if len(b) < frameLen {
		return Frame{}, fmt.Errorf("%w: %d octets, want %d", errMalformed, len(b), frameLen)
	}
	if et := binary.BigEndian.Uint16(b[12:14]); et != wire.EtherTypeARP {
		return Frame{}, fmt.Errorf("%w: EtherType %#04x", errMalformed, et)
	}
	p := b[wire.HeaderLen:]
	if ht := binary.BigEndian.Uint16(p[0:2]); ht != hardwareEthernet {
		return Frame{}, fmt.Errorf("%w: hardware type %d", errMalformed, ht)
	}
	if pt := binary.BigEndian.Uint16(p[2:4]); pt != 0x0800 {
		return Frame{}, fmt.Errorf("%w: protocol type %#04x", errMalformed, pt)
	}
	if p[4] != 6 || p[5] != 4 {
		return Frame{}, fmt.Errorf("%w: address lengths %d and %d", errMalformed, p[4], p[5])
	}
	f := Frame{
		Dest:      wire.MAC(b[0:6]),
		Source:    wire.MAC(b[6:12]),
		Op:        Op(binary.BigEndian.Uint16(p[6:8])),
		SenderMAC: wire.MAC(p[8:14]),
		SenderIP:  netip.AddrFrom4([4]byte(p[14:18])),
		TargetMAC: wire.MAC(p[18:24]),
		TargetIP:  netip.AddrFrom4([4]byte(p[24:28])),
	}
	if f.Op != Request && f.Op != Reply {
		return Frame{}, fmt.Errorf("%w: operation %d", errMalformed, uint16(f.Op))
	}
	if !f.SenderMAC.IsStation() || !f.Source.IsStation() {
		return Frame{}, fmt.Errorf("%w: sender %s from %s", errMalformed, f.SenderMAC, f.Source)
	}
	if f.SenderIP.IsMulticast() || f.SenderIP == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return Frame{}, fmt.Errorf("%w: sender address %s", errMalformed, f.SenderIP)
	}
	if f.IsGratuitous() || f.IsProbe() {
		f.Title, f.Titled = wire.ParseTitle(p[payloadLen:])
	}
	return f, nil
}

// AppendTo appends the frame's bytes, padded to the least Ethernet length. It
// is the reverse of Parse but for At.
func (f Frame) AppendTo(b []byte) []byte {
	start := len(b)
	b = append(b, f.Dest[:]...)
	b = append(b, f.Source[:]...)
	b = binary.BigEndian.AppendUint16(b, wire.EtherTypeARP)
	b = binary.BigEndian.AppendUint16(b, hardwareEthernet)
	b = binary.BigEndian.AppendUint16(b, 0x0800)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, uint16(f.Op))
	b = append(b, f.SenderMAC[:]...)
	b = append(b, f.SenderIP.AsSlice()...)
	b = append(b, f.TargetMAC[:]...)
	b = append(b, f.TargetIP.AsSlice()...)
	if f.Titled {
		b = f.Title.AppendTo(b)
	}
	for len(b)-start < minFrameLen {
		b = append(b, 0)
	}
	return b
}

// IsProbe reports whether f asks for an address that its sender doesn't have
// yet (RFC 5227 section 1.1): a request from 0.0.0.0.
func (f Frame) IsProbe() bool {
	return f.Op == Request && f.SenderIP.IsUnspecified() && !f.TargetIP.IsUnspecified()
}

// IsGratuitous reports whether f announces its sender's own address: sender
// and target address are the same, whatever the target hardware address.
func (f Frame) IsGratuitous() bool {
	return !f.SenderIP.IsUnspecified() && f.SenderIP == f.TargetIP
}

// MovesLinux reports whether Linux takes f for gratuitous (arp_is_garp in
// net/ipv4/arp.c) and so updates a neighbour entry that was confirmed within
// the last second: a reply also needs its target to be its sender.
func (f Frame) MovesLinux() bool {
	return f.IsGratuitous() && (f.Op == Request || f.TargetMAC == f.SenderMAC)
}

// Heard returns what f says about an address; false if nothing.
func (f Frame) Heard() (wire.Heard, bool) {
	h := wire.Heard{Addr: f.SenderIP, MAC: f.SenderMAC, Source: f.Source, Title: f.Title, Titled: f.Titled, Direct: f.Dest.IsStation(), At: f.At}
	switch {
	case f.IsProbe():
		h.Addr, h.Kind = f.TargetIP, wire.Probe
	case f.SenderIP.IsUnspecified():
		return wire.Heard{}, false
	case f.IsGratuitous():
		h.Kind = wire.Claim
	case f.Op == Reply:
		h.Kind = wire.Answer
	default:
		h.Kind = wire.Use
	}
	return h, true
}

// NewProbe returns a broadcast ARP probe for addr (RFC 5227 section 2.1.1).
func NewProbe(src wire.MAC, addr netip.Addr) Frame {
	return NewProbeTo(src, addr, wire.Broadcast)
}

// NewProbeTo returns an ARP probe for addr whose Ethernet frame goes to one
// machine only.
func NewProbeTo(src wire.MAC, addr netip.Addr, to wire.MAC) Frame {
	return Frame{
		Dest: to, Source: src, Op: Request,
		SenderMAC: src, SenderIP: netip.IPv4Unspecified(), TargetIP: addr,
	}
}

// NewRequest returns a unicast question to one machine whether it has addr,
// asked from the address from.
func NewRequest(src wire.MAC, from, addr netip.Addr, to wire.MAC) Frame {
	return Frame{
		Dest: to, Source: src, Op: Request,
		SenderMAC: src, SenderIP: from, TargetIP: addr,
	}
}

// NewAnnouncement returns the broadcast that claims addr by a title in the given form:
// some receivers take only requests, some only replies. The target hardware
// address is the sender's in both, because Linux wants it so in replies (see
// MovesLinux) and RFC 5227 leaves it open in requests.
func NewAnnouncement(op Op, src wire.MAC, addr netip.Addr, title wire.Title) Frame {
	return Frame{
		Dest: wire.Broadcast, Source: src, Op: op, Title: title, Titled: true,
		SenderMAC: src, SenderIP: addr, TargetMAC: src, TargetIP: addr,
	}
}

// Package ndp speaks the part of neighbour discovery (RFC 4861) and duplicate
// address detection (RFC 4862) that announcing addresses needs, on one
// Ethernet interface: frames to and from bytes, and a connection.
package ndp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

const (
	ipv6HeaderLen = 40
	messageLen    = 24 // ICMPv6 header, flags or reserved, target (RFC 4861 section 4.3 and 4.4)
	frameLen      = wire.HeaderLen + ipv6HeaderLen + messageLen

	protocolICMPv6    = 58
	typeSolicitation  = 135
	typeAdvertisement = 136

	optionSource = 1
	optionTarget = 2
	// optionTitle is a type for experiments (RFC 4727 section 5.1.1); who doesn't know it passes it over (RFC 4861 section 4.6).
	optionTitle = 253

	flagSolicited = 1 << 6
	flagOverride  = 1 << 5
)

var (
	errMalformed = errors.New("malformed neighbour discovery frame")
	allNodes     = netip.MustParseAddr("ff02::1")
)

// Frame is an Ethernet frame with a neighbour solicitation or advertisement.
type Frame struct {
	// Source and Dest are the Ethernet addresses.
	Source, Dest wire.MAC
	// From and To are the IPv6 addresses.
	From, To netip.Addr
	// Advertisement tells an advertisement from a solicitation.
	Advertisement bool
	// Solicited and Override are flags of an advertisement. The Router flag is
	// never sent and of no interest.
	Solicited, Override bool
	Target              netip.Addr
	// Link is the link-layer address option that belongs to the message: the
	// source's in a solicitation, the target's in an advertisement. Zero
	// without one.
	Link wire.MAC
	// Title is in an option of an announcement by an announcer, and of a probe by one that holds the address; Titled says whether
	// there is one.
	Title  wire.Title
	Titled bool
	// At is when the frame was received; zero for frames to send.
	At time.Time
}

// Parse reads an Ethernet frame and validates it as RFC 4861 section 7.1 says:
// hop limit 255, checksum, code 0, lengths, targets, the forms with an
// unspecified source. Extension headers before the message are not followed.
func Parse(b []byte) (Frame, error) {
	if len(b) < frameLen {
		return Frame{}, fmt.Errorf("%w: %d octets, want %d", errMalformed, len(b), frameLen)
	}
	if et := binary.BigEndian.Uint16(b[12:14]); et != wire.EtherTypeIPv6 {
		return Frame{}, fmt.Errorf("%w: EtherType %#04x", errMalformed, et)
	}
	ip := b[wire.HeaderLen:]
	size := int(binary.BigEndian.Uint16(ip[4:6]))
	switch {
	case ip[0]>>4 != 6:
		return Frame{}, fmt.Errorf("%w: IP version %d", errMalformed, ip[0]>>4)
	case ip[6] != protocolICMPv6:
		return Frame{}, fmt.Errorf("%w: next header %d", errMalformed, ip[6])
	case ip[7] != 255:
		return Frame{}, fmt.Errorf("%w: hop limit %d", errMalformed, ip[7])
	case size < messageLen || size > len(ip)-ipv6HeaderLen:
		return Frame{}, fmt.Errorf("%w: payload of %d octets", errMalformed, size)
	}
	f := Frame{
		Dest:   wire.MAC(b[0:6]),
		Source: wire.MAC(b[6:12]),
		From:   netip.AddrFrom16([16]byte(ip[8:24])),
		To:     netip.AddrFrom16([16]byte(ip[24:40])),
	}
	if !f.Source.IsStation() {
		return Frame{}, fmt.Errorf("%w: from %s", errMalformed, f.Source)
	}
	return f.parseMessage(ip[ipv6HeaderLen : ipv6HeaderLen+size])
}

func (f Frame) parseMessage(m []byte) (Frame, error) {
	if checksum(f.From, f.To, m) != 0 {
		return Frame{}, fmt.Errorf("%w: checksum", errMalformed)
	}
	if m[1] != 0 {
		return Frame{}, fmt.Errorf("%w: code %d", errMalformed, m[1])
	}
	f.Target = netip.AddrFrom16([16]byte(m[8:24]))
	if !isHost6(f.Target) {
		return Frame{}, fmt.Errorf("%w: target %s", errMalformed, f.Target)
	}
	if f.From.IsMulticast() {
		return Frame{}, fmt.Errorf("%w: source %s", errMalformed, f.From)
	}
	option := byte(optionSource)
	switch m[0] {
	case typeSolicitation:
	case typeAdvertisement:
		f.Advertisement = true
		f.Solicited = m[4]&flagSolicited != 0
		f.Override = m[4]&flagOverride != 0
		option = optionTarget
		if f.Solicited && f.To.IsMulticast() {
			return Frame{}, fmt.Errorf("%w: solicited advertisement to %s", errMalformed, f.To)
		}
		if f.From.IsUnspecified() {
			return Frame{}, fmt.Errorf("%w: advertisement without a source", errMalformed)
		}
	default:
		return Frame{}, fmt.Errorf("%w: type %d", errMalformed, m[0])
	}
	if err := f.parseOptions(m[messageLen:], option); err != nil {
		return Frame{}, err
	}
	if f.From.IsUnspecified() {
		// Duplicate address detection (RFC 4862 section 5.4.2).
		if !f.Link.IsZero() || f.To != SolicitedNode(f.Target) {
			return Frame{}, fmt.Errorf("%w: solicitation without a source to %s", errMalformed, f.To)
		}
	}
	return f, nil
}

// parseOptions walks all options, as a zero length anywhere makes the message
// invalid, and takes the wanted link-layer address and an unsolicited
// advertisement's title from them. Options with another than Ethernet's length
// are passed over.
func (f *Frame) parseOptions(b []byte, want byte) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return fmt.Errorf("%w: option cut short", errMalformed)
		}
		n := int(b[1]) * 8
		if n == 0 || n > len(b) {
			return fmt.Errorf("%w: option of %d octets", errMalformed, n)
		}
		switch {
		case b[0] == want && n == 8 && f.Link.IsZero():
			f.Link = wire.MAC(b[2:8])
		case b[0] == optionTitle && !f.Titled && (f.IsProbe() || f.Advertisement && !f.Solicited):
			f.Title, f.Titled = wire.ParseTitle(b[2:n])
		}
		b = b[n:]
	}
	if !f.Link.IsZero() && !f.Link.IsStation() {
		return fmt.Errorf("%w: link-layer address %s", errMalformed, f.Link)
	}
	return nil
}

// AppendTo appends the frame's bytes with its checksum. It is the reverse of
// Parse but for At.
func (f Frame) AppendTo(b []byte) ([]byte, error) {
	m, err := ndp.MarshalMessageChecksum(f.message(), f.From, f.To)
	if err != nil {
		return nil, fmt.Errorf("marshalling for %s: %w", f.Target, err)
	}
	b = append(b, f.Dest[:]...)
	b = append(b, f.Source[:]...)
	b = binary.BigEndian.AppendUint16(b, wire.EtherTypeIPv6)
	b = append(b, 6<<4, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m)))
	b = append(b, protocolICMPv6, 255)
	b = append(b, f.From.AsSlice()...)
	b = append(b, f.To.AsSlice()...)
	return append(b, m...), nil
}

func (f Frame) message() ndp.Message {
	var options []ndp.Option
	link := func(d ndp.Direction) {
		if !f.Link.IsZero() {
			options = append(options, &ndp.LinkLayerAddress{Direction: d, Addr: net.HardwareAddr(f.Link[:])})
		}
	}
	title := func() {
		if f.Titled {
			options = append(options, &ndp.RawOption{Type: optionTitle, Length: (2 + wire.TitleLen) / 8, Value: f.Title.AppendTo(nil)})
		}
	}
	if !f.Advertisement {
		link(ndp.Source)
		title()
		return &ndp.NeighborSolicitation{TargetAddress: f.Target, Options: options}
	}
	link(ndp.Target)
	title()
	return &ndp.NeighborAdvertisement{
		Solicited: f.Solicited, Override: f.Override, TargetAddress: f.Target, Options: options,
	}
}

// IsProbe reports whether f is duplicate address detection: its sender wants
// the target but doesn't have it yet.
func (f Frame) IsProbe() bool { return !f.Advertisement && f.From.IsUnspecified() }

// Heard returns what f says about an address; false if nothing.
//
// An answer to a probe goes to all nodes without the Solicited flag, like an
// announcement. Linux sends both alike, so neither can be told from the other
// here and both are claims.
func (f Frame) Heard() (wire.Heard, bool) {
	h := wire.Heard{Addr: f.Target, MAC: f.Source, Source: f.Source, Title: f.Title, Titled: f.Titled, Direct: f.Dest.IsStation(), At: f.At}
	switch {
	case f.IsProbe():
		h.Kind = wire.Probe
		return h, true
	case f.Advertisement && f.Solicited:
		h.Kind = wire.Answer
	case f.Advertisement:
		h.Kind = wire.Claim
	default:
		h.Addr, h.Kind = f.From, wire.Use
	}
	if !f.Link.IsZero() {
		h.MAC = f.Link
	}
	return h, true
}

// NewProbe returns a neighbour solicitation for addr from the unspecified
// address (RFC 4862 section 5.4.2).
func NewProbe(src wire.MAC, addr netip.Addr) Frame {
	to := SolicitedNode(addr)
	return Frame{Dest: groupMAC(to), Source: src, From: netip.IPv6Unspecified(), To: to, Target: addr}
}

// NewProbeTo returns NewProbe in an Ethernet frame to one machine: the IPv6
// destination must stay the group for a source of ::.
func NewProbeTo(src wire.MAC, addr netip.Addr, to wire.MAC) Frame {
	f := NewProbe(src, addr)
	f.Dest = to
	return f
}

// NewRequest returns a unicast question to one machine whether it has addr, asked from the address from, as neighbour
// unreachability detection asks (RFC 4861 section 7.3.3). The answer is unicast too.
func NewRequest(src wire.MAC, from, addr netip.Addr, to wire.MAC) Frame {
	return Frame{Dest: to, Source: src, From: from, To: addr, Target: addr, Link: src}
}

// NewAnnouncement returns an unsolicited advertisement of addr by a title to all nodes
// (RFC 4861 section 7.2.6). Without Override, receivers keep the old MAC.
func NewAnnouncement(src wire.MAC, addr netip.Addr, title wire.Title) Frame {
	return Frame{
		Dest: groupMAC(allNodes), Source: src, From: addr, To: allNodes,
		Advertisement: true, Override: true, Target: addr, Link: src, Title: title, Titled: true,
	}
}

// SolicitedNode returns the solicited-node group of addr (RFC 4291 section
// 2.7.1).
func SolicitedNode(addr netip.Addr) netip.Addr {
	a := addr.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
}

// groupMAC returns the Ethernet address of an IPv6 group (RFC 2464 section 7).
func groupMAC(group netip.Addr) wire.MAC {
	a := group.As16()
	return wire.MAC{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

// isHost6 reports whether addr can belong to one machine.
func isHost6(addr netip.Addr) bool {
	return addr.Is6() && !addr.Is4In6() && addr.Zone() == "" && !addr.IsUnspecified() && !addr.IsMulticast()
}

// checksum returns the ICMPv6 checksum over the pseudo header and m (RFC 8200
// section 8.1); it is 0 when m holds its correct checksum.
func checksum(from, to netip.Addr, m []byte) uint16 {
	sum := uint32(len(m)) + protocolICMPv6
	add := func(b []byte) {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	f, t := from.As16(), to.As16()
	add(f[:])
	add(t[:])
	add(m)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// Package echo asks one machine for an IP address by ICMP or ICMPv6 echo in Ethernet frames: the frame goes to a MAC address of
// the caller's choice, whatever the kernel's neighbour table says. The machine's kernel answers if and only if it has the
// address, without any program's help.
package echo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// EtherType of IPv4 (RFC 894); that of IPv6 is wire.EtherTypeIPv6.
const etherTypeIPv4 = 0x0800

const (
	protocolICMP   = 1  // RFC 792
	protocolICMPv6 = 58 // RFC 4443
	ipv4HeaderLen  = 20
	ipv6HeaderLen  = 40
	icmpHeaderLen  = 8
	// hops is as far as a question may go: the machine is on the segment, and one that routes the frame elsewhere must not get
	// an answer from there.
	hops = 1
)

// ErrNotEcho says that a frame isn't an echo request or reply.
var ErrNotEcho = errors.New("not an echo")

// Message is one answer, or one question of another machine that asks as we do.
type Message struct {
	// Addr is the sender: what answered, or an own address of who asks. MAC is the Ethernet source of its frame.
	Addr netip.Addr
	MAC  wire.MAC
	// Question tells a request from a reply.
	Question bool
	// Hops is the TTL or hop limit.
	Hops uint8
	// ID and Seq are those of the question.
	ID, Seq uint16
	// At is when the kernel received the frame, with a monotonic reading.
	At time.Time
}

// question builds an Ethernet frame with an echo request. from and to must be of one family.
func question(src, dst wire.MAC, from, to netip.Addr, id, seq uint16) ([]byte, error) {
	frame := make([]byte, 0, wire.HeaderLen+ipv6HeaderLen+icmpHeaderLen)
	frame = append(append(frame, dst[:]...), src[:]...)
	body := &icmp.Echo{ID: int(id), Seq: int(seq)}
	if from.Is4() {
		message, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: body}).Marshal(nil)
		if err != nil {
			return nil, err
		}
		header := make([]byte, ipv4HeaderLen)
		header[0] = 4<<4 | ipv4HeaderLen/4
		binary.BigEndian.PutUint16(header[2:], uint16(ipv4HeaderLen+len(message)))
		binary.BigEndian.PutUint16(header[6:], 1<<14) // don't fragment
		header[8], header[9] = hops, protocolICMP
		copy(header[12:], from.AsSlice())
		copy(header[16:], to.AsSlice())
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		frame = binary.BigEndian.AppendUint16(frame, etherTypeIPv4)
		return append(append(frame, header...), message...), nil
	}
	message, err := (&icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: body}).Marshal(icmp.IPv6PseudoHeader(from.AsSlice(), to.AsSlice()))
	if err != nil {
		return nil, err
	}
	header := make([]byte, 8, ipv6HeaderLen)
	header[0] = 6 << 4
	binary.BigEndian.PutUint16(header[4:], uint16(len(message)))
	header[6], header[7] = protocolICMPv6, hops
	header = append(append(header, from.AsSlice()...), to.AsSlice()...)
	frame = binary.BigEndian.AppendUint16(frame, wire.EtherTypeIPv6)
	return append(append(frame, header...), message...), nil
}

// parse reads an Ethernet frame with an echo request or reply. Fragments, extension headers and anything else are errors.
func parse(frame []byte) (Message, error) {
	if len(frame) < wire.HeaderLen {
		return Message{}, ErrNotEcho
	}
	m := Message{MAC: wire.MAC(frame[6:12])}
	if !m.MAC.IsStation() {
		return Message{}, fmt.Errorf("%w: from %s", ErrNotEcho, m.MAC)
	}
	packet := frame[wire.HeaderLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherTypeIPv4:
		return m.parse4(packet)
	case wire.EtherTypeIPv6:
		return m.parse6(packet)
	}
	return Message{}, ErrNotEcho
}

func (m Message) parse4(packet []byte) (Message, error) {
	if len(packet) < ipv4HeaderLen || packet[0]>>4 != 4 {
		return Message{}, ErrNotEcho
	}
	headerLen, total := int(packet[0]&0xf)*4, int(binary.BigEndian.Uint16(packet[2:]))
	fragment := binary.BigEndian.Uint16(packet[6:]) & 0x3fff // more fragments, and the offset
	if headerLen < ipv4HeaderLen || total < headerLen+icmpHeaderLen || len(packet) < total || fragment != 0 || packet[9] != protocolICMP {
		return Message{}, ErrNotEcho
	}
	if checksum(packet[:headerLen]) != 0 || checksum(packet[headerLen:total]) != 0 {
		return Message{}, fmt.Errorf("%w: checksum", ErrNotEcho)
	}
	m.Addr, m.Hops = netip.AddrFrom4([4]byte(packet[12:16])), packet[8]
	return m.parseMessage(packet[headerLen:total], byte(ipv4.ICMPTypeEcho), byte(ipv4.ICMPTypeEchoReply))
}

func (m Message) parse6(packet []byte) (Message, error) {
	if len(packet) < ipv6HeaderLen+icmpHeaderLen || packet[0]>>4 != 6 || packet[6] != protocolICMPv6 {
		return Message{}, ErrNotEcho
	}
	length := int(binary.BigEndian.Uint16(packet[4:]))
	if length < icmpHeaderLen || len(packet) < ipv6HeaderLen+length {
		return Message{}, ErrNotEcho
	}
	message := packet[ipv6HeaderLen : ipv6HeaderLen+length]
	// The pseudo header of RFC 8200 section 8.1: addresses, length, three zeros, next header.
	pseudo := append([]byte{}, packet[8:40]...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(length))
	pseudo = append(pseudo, 0, 0, 0, protocolICMPv6)
	if checksum(append(pseudo, message...)) != 0 {
		return Message{}, fmt.Errorf("%w: checksum", ErrNotEcho)
	}
	m.Addr, m.Hops = netip.AddrFrom16([16]byte(packet[8:24])), packet[7]
	return m.parseMessage(message, byte(ipv6.ICMPTypeEchoRequest), byte(ipv6.ICMPTypeEchoReply))
}

func (m Message) parseMessage(message []byte, request, reply byte) (Message, error) {
	switch {
	case message[0] == request:
		m.Question = true
	case message[0] != reply:
		return Message{}, fmt.Errorf("%w: type %d", ErrNotEcho, message[0])
	}
	if message[1] != 0 {
		return Message{}, fmt.Errorf("%w: code %d", ErrNotEcho, message[1])
	}
	m.ID, m.Seq = binary.BigEndian.Uint16(message[4:]), binary.BigEndian.Uint16(message[6:])
	return m, nil
}

// checksum is that of RFC 1071; over something that holds its correct checksum it is 0.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

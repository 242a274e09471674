package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// wire is a raw socket on a host's NIC.
type wire struct {
	*packet.Conn
	mac net.HardwareAddr
}

// tap opens a raw socket for frames of one EtherType on the host's NIC.
func (h *Host) tap(etherType ethernet.EtherType) (*wire, error) {
	var w *wire
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(nic)
		if err != nil {
			return fmt.Errorf("finding %s: %w", nic, err)
		}
		conn, err := packet.Listen(ifi, packet.Raw, int(etherType), nil)
		if err != nil {
			return fmt.Errorf("opening a raw socket on %s: %w", nic, err)
		}
		w = &wire{Conn: conn, mac: ifi.HardwareAddr}
		return nil
	})
	return w, err
}

func (w *wire) send(dst net.HardwareAddr, etherType ethernet.EtherType, payload []byte) error {
	frame := ethernet.Frame{Destination: dst, Source: w.mac, EtherType: etherType, Payload: payload}
	data, err := frame.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encoding a frame: %w", err)
	}
	if _, err := w.WriteTo(data, &packet.Addr{HardwareAddr: dst}); err != nil {
		return fmt.Errorf("sending a frame: %w", err)
	}
	return nil
}

// errNoFrame is returned for frames that aren't what the reader looks for.
var errNoFrame = errors.New("another kind of frame")

// receive reads one frame.
func (w *wire) receive(buf []byte) (*ethernet.Frame, error) {
	n, _, err := w.ReadFrom(buf)
	if err != nil {
		return nil, err
	}
	var f ethernet.Frame
	if f.UnmarshalBinary(buf[:n]) != nil {
		return nil, errNoFrame
	}
	return &f, nil
}

func (w *wire) sendARP(op arp.Operation, dst net.HardwareAddr, senderIP netip.Addr, targetMAC net.HardwareAddr, targetIP netip.Addr) error {
	p, err := arp.NewPacket(op, w.mac, senderIP, targetMAC, targetIP)
	if err != nil {
		return fmt.Errorf("encoding an ARP packet: %w", err)
	}
	data, err := p.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encoding an ARP packet: %w", err)
	}
	return w.send(dst, ethernet.EtherTypeARP, data)
}

func parseARP(f *ethernet.Frame) (*arp.Packet, error) {
	var p arp.Packet
	if f.EtherType != ethernet.EtherTypeARP || p.UnmarshalBinary(f.Payload) != nil {
		return nil, errNoFrame
	}
	return &p, nil
}

const ipv6HeaderLen = 40

// sendND sends a neighbour discovery message.
func (w *wire) sendND(dstMAC net.HardwareAddr, src, dst netip.Addr, m ndp.Message) error {
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		return fmt.Errorf("encoding an ND message: %w", err)
	}
	p := make([]byte, ipv6HeaderLen, ipv6HeaderLen+len(body))
	p[0] = 6 << 4
	p[4], p[5] = byte(len(body)>>8), byte(len(body))
	p[6] = unix.IPPROTO_ICMPV6
	p[7] = ndp.HopLimit
	copy(p[8:24], src.AsSlice())
	copy(p[24:40], dst.AsSlice())
	return w.send(dstMAC, ethernet.EtherTypeIPv6, append(p, body...))
}

// parseND returns the source and the message of a neighbour discovery packet.
func parseND(f *ethernet.Frame) (netip.Addr, ndp.Message, error) {
	p := f.Payload
	if f.EtherType != ethernet.EtherTypeIPv6 || len(p) < ipv6HeaderLen || p[6] != unix.IPPROTO_ICMPV6 || p[7] != ndp.HopLimit {
		return netip.Addr{}, nil, errNoFrame
	}
	size := int(p[4])<<8 | int(p[5])
	if len(p) < ipv6HeaderLen+size {
		return netip.Addr{}, nil, errNoFrame
	}
	src, _ := netip.AddrFromSlice(p[8:24])
	m, err := ndp.ParseMessage(p[ipv6HeaderLen : ipv6HeaderLen+size])
	if err != nil {
		return netip.Addr{}, nil, errNoFrame
	}
	return src, m, nil
}

// solicitation asks for the target's MAC.
func solicitation(target netip.Addr, mac net.HardwareAddr) *ndp.NeighborSolicitation {
	return &ndp.NeighborSolicitation{
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}},
	}
}

// advertisement says that mac has the target.
func advertisement(target netip.Addr, mac net.HardwareAddr, solicited bool) *ndp.NeighborAdvertisement {
	return &ndp.NeighborAdvertisement{
		Solicited:     solicited,
		Override:      true,
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}
}

// multicastMAC is the Ethernet address of an IPv6 multicast group (RFC 2464, 7).
func multicastMAC(group netip.Addr) net.HardwareAddr {
	a := group.As16()
	return net.HardwareAddr{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

var (
	allNodes     = netip.MustParseAddr("ff02::1")
	allNodesMAC  = multicastMAC(allNodes)
	unknownMAC   = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	frameBufSize = 2048
)

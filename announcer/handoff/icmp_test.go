package handoff

import (
	"bufio"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

// port is the client's port of a connection.
func (f *flow) port() uint16 { return f.LocalAddr().(*net.TCPAddr).AddrPort().Port() }

// tooBig is a router's word to the VIP that an answer of a connection didn't fit: ICMP "fragmentation needed" (RFC 1191 section 4) or
// ICMPv6 "packet too big" (RFC 4443 section 3.2).
func (l *lan) tooBig(to *node, f *flow) []byte {
	const mtu = 1280
	client := f.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 80), f.port())
	quoted := packet(l.vip, client, unix.IPPROTO_TCP, append(ports, make([]byte, 16)...)) // of TCP only ports are looked at
	message, proto, ethertype := []byte{3, 4, 0, 0, 0, 0, mtu >> 8, mtu & 0xff}, byte(unix.IPPROTO_ICMP), []byte{0x08, 0x00}
	if l.vip.Is6() {
		message, proto, ethertype = []byte{2, 0, 0, 0, 0, 0, mtu >> 8, mtu & 0xff}, unix.IPPROTO_ICMPV6, []byte{0x86, 0xdd}
	}
	message = append(message, quoted...)
	sum := uint32(0)
	if l.vip.Is6() { // RFC 4443 section 2.3: the pseudo-header counts
		pseudo := append(append(append([]byte{}, client.AsSlice()...), l.vip.AsSlice()...), 0, 0, 0, byte(len(message)), 0, 0, 0, proto)
		sum = uint32(^checksum(pseudo, 0))
	}
	binary.BigEndian.PutUint16(message[2:], checksum(message, sum))
	frame := append(append(append([]byte{}, to.MAC...), l.client.MAC...), ethertype...)
	return append(frame, packet(client, l.vip, proto, message)...)
}

// packet is an IPv4 or IPv6 packet.
func packet(from, to netip.Addr, proto byte, payload []byte) []byte {
	if from.Is6() {
		b := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), proto, 64}
		return append(append(append(b, from.AsSlice()...), to.AsSlice()...), payload...)
	}
	b := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, 0x40, 0, 64, proto, 0, 0}
	b = append(append(b, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], checksum(b, 0))
	return append(b, payload...)
}

// tooBigs counts the "too big" messages that a node's own stack has accepted. Those for an address that it doesn't have are none.
func (nd *node) tooBigs(t *testing.T, v6 bool) int {
	t.Helper()
	file, prefix := "/proc/thread-self/net/snmp", "Icmp:"
	if v6 {
		file, prefix = "/proc/thread-self/net/snmp6", "Icmp6InPktTooBigs"
	}
	var content []byte
	var err error
	nd.In(t, func() { content, err = os.ReadFile(file) })
	if err != nil {
		t.Fatal(err)
	}
	column := 1
	for lines := bufio.NewScanner(strings.NewReader(string(content))); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || fields[0] != prefix {
			continue
		}
		if n, err := strconv.Atoi(fields[column]); err == nil {
			return n
		}
		for i, name := range fields { // IPv4 names its columns in a line of their own
			if name == "InDestUnreachs" {
				column = i
			}
		}
	}
	t.Fatalf("%s doesn't count them:\n%s", file, content)
	return 0
}

// trackedBy fails the test unless one node's conntrack alone knows a connection: what is handed on leaves no trace.
func (l *lan) trackedBy(t *testing.T, f *flow, owner *node) {
	t.Helper()
	for _, nd := range l.nodes {
		if got := nd.tracks(t, l, f); got != (nd == owner) {
			t.Errorf("node %s tracks a connection of node %s: %t", nd.name, owner.name, got)
		}
	}
}

// tracks says whether a node's conntrack knows a connection.
func (nd *node) tracks(t *testing.T, l *lan, f *flow) bool {
	t.Helper()
	family := netlink.InetFamily(unix.AF_INET)
	if l.vip.Is6() {
		family = unix.AF_INET6
	}
	var known []*netlink.ConntrackFlow
	var err error
	nd.In(t, func() { known, err = netlink.ConntrackTableList(netlink.ConntrackTable, family) })
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range known {
		if k.Forward.SrcPort == f.port() && k.Forward.DstIP.Equal(l.vip.AsSlice()) {
			return true
		}
	}
	return false
}

func TestErrorsReachTheNodeThatServesTheConnection(t *testing.T) {
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, 3, v6)
			a, b, c := l.nodes[0], l.nodes[1], l.nodes[2]
			l.open(t)
			a.set(t, l.guarded(a))
			l.move(t, nil, a)
			flow := l.connect(t)
			flow.answered(t, a)
			reaches := func(by *node, others ...*node) {
				t.Helper()
				before := a.tooBigs(t, v6)
				l.inject(t, [][]byte{l.tooBig(by, flow)})
				nstest.Eventually(t, "the error to reach its connection's node", func() bool { return a.tooBigs(t, v6) == before+1 })
				for _, other := range others {
					if n := other.tooBigs(t, v6); n > 0 {
						t.Errorf("node %s took %d for itself", other.name, n)
					}
				}
			}
			reaches(a, b, c)

			b.set(t, l.guarded(b, a))
			l.move(t, a, b)
			reaches(b, b, c) // a sole earlier owner

			c.set(t, l.guarded(c, b, a))
			l.move(t, b, c)
			reaches(c, b, c) // one of several
			flow.answered(t, a)
		})
	}
}

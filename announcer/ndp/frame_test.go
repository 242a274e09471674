package ndp

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

var (
	cmpAddr   = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	here      = wire.MAC{2, 0, 0, 0, 0, 1}
	there     = wire.MAC{2, 0, 0, 0, 0, 2}
	vip       = netip.MustParseAddr("2001:db8::12:3456")
	linkLocal = netip.MustParseAddr("fe80::2")
	title     = wire.Title{Term: 3, Place: 2}
)

const (
	hexVIP  = "20010db8000000000000000000123456"
	hexZero = "00000000000000000000000000000000"
	hexAll  = "ff020000000000000000000000000001"
	hexNode = "ff0200000000000000000001ff123456"
	hexLL   = "fe800000000000000000000000000002"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sum puts the right checksum into a frame whose lengths are right.
func sum(b []byte) []byte {
	m := b[wire.HeaderLen+ipv6HeaderLen:]
	m[2], m[3] = 0, 0
	from := netip.AddrFrom16([16]byte(b[wire.HeaderLen+8:]))
	to := netip.AddrFrom16([16]byte(b[wire.HeaderLen+24:]))
	binary.BigEndian.PutUint16(m[2:], checksum(from, to, m))
	return b
}

func TestFramesAndBytes(t *testing.T) {
	tests := []struct {
		name  string
		frame Frame
		bytes string // with its checksum as another program computed it
		probe bool
		heard wire.Kind
		of    netip.Addr
		mac   wire.MAC
	}{
		{
			name:  "a probe goes from :: to the solicited-node group without options",
			frame: NewProbe(here, vip),
			bytes: "3333ff123456 020000000001 86dd 60000000 0018 3a ff" + hexZero + hexNode +
				"87 00 e41e 00000000" + hexVIP,
			probe: true, heard: wire.Probe, of: vip, mac: here,
		},
		{
			name:  "a holder's question shows its title",
			frame: Frame{Dest: groupMAC(SolicitedNode(vip)), Source: here, From: netip.IPv6Unspecified(), To: SolicitedNode(vip), Target: vip, Title: title, Titled: true},
			probe: true, heard: wire.Probe, of: vip, mac: here,
		},
		{
			name:  "a probe to one machine keeps its IPv6 destination",
			frame: NewProbeTo(here, vip, there),
			bytes: "020000000002 020000000001 86dd 60000000 0018 3a ff" + hexZero + hexNode +
				"87 00 e41e 00000000" + hexVIP,
			probe: true, heard: wire.Probe, of: vip, mac: here,
		},
		{
			name:  "an announcement has Override, not Router nor Solicited, and the target's MAC",
			frame: NewAnnouncement(here, vip, title),
			bytes: "333300000001 020000000001 86dd 60000000 0030 3a ff" + hexVIP + hexAll +
				"88 00 5e81 20000000" + hexVIP + "0201 020000000001" + "fd02 e74b4c77 01 02 0000000000000003",
			heard: wire.Claim, of: vip, mac: here,
		},
		{
			name:  "a request to one machine carries our address and MAC",
			frame: NewRequest(here, linkLocal, vip, there),
			heard: wire.Use, of: linkLocal, mac: here,
		},
		{
			name: "a solicited answer without an option is its Ethernet source's",
			frame: Frame{Dest: here, Source: there, From: vip, To: linkLocal,
				Advertisement: true, Solicited: true, Override: true, Target: vip},
			heard: wire.Answer, of: vip, mac: there,
		},
		{
			name: "an answer on behalf of another MAC is of that MAC",
			frame: Frame{Dest: here, Source: there, From: linkLocal, To: allNodes,
				Advertisement: true, Target: vip, Link: wire.MAC{2, 0, 0, 0, 0, 9}},
			heard: wire.Claim, of: vip, mac: wire.MAC{2, 0, 0, 0, 0, 9},
		},
		{
			name: "a question speaks for its sender's address",
			frame: Frame{Dest: wire.MAC{0x33, 0x33, 0xff, 0x12, 0x34, 0x56}, Source: there,
				From: linkLocal, To: SolicitedNode(vip), Target: vip, Link: there},
			heard: wire.Use, of: linkLocal, mac: there,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tt.frame.AppendTo([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			b = b[len("before"):]
			if tt.bytes != "" {
				if diff := cmp.Diff(unhex(t, tt.bytes), b); diff != "" {
					t.Errorf("bytes (-want +got):\n%s", diff)
				}
			}
			for _, in := range [][]byte{b, append(b, "padding"...)} {
				got, err := Parse(in)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.frame, got, cmpAddr); diff != "" {
					t.Errorf("parsed from %d octets (-want +got):\n%s", len(in), diff)
				}
			}
			if got := tt.frame.IsProbe(); got != tt.probe {
				t.Errorf("IsProbe() = %t", got)
			}
			h, ok := tt.frame.Heard()
			if !ok || h.Kind != tt.heard || h.Addr != tt.of || h.MAC != tt.mac || h.Source != tt.frame.Source {
				t.Errorf("Heard() = %+v, %t, want %s of %s at %s", h, ok, tt.heard, tt.of, tt.mac)
			}
		})
	}
}

func TestAnotherImplementationReadsOurMessages(t *testing.T) {
	b, err := NewAnnouncement(here, vip, title).AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ndp.ParseMessage(b[wire.HeaderLen+ipv6HeaderLen:])
	if err != nil {
		t.Fatal(err)
	}
	want := &ndp.NeighborAdvertisement{Override: true, TargetAddress: vip,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: here.HardwareAddr()},
			&ndp.RawOption{Type: optionTitle, Length: 2, Value: title.AppendTo(nil)},
		}}
	if diff := cmp.Diff(ndp.Message(want), m, cmpAddr); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOddFramesAreRefused(t *testing.T) {
	const ether = "3333ff123456 020000000002 86dd"
	probe := func(change func(b []byte)) []byte {
		b, err := NewProbe(there, vip).AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		return b
	}
	at := func(off int, v ...byte) func([]byte) { return func(b []byte) { copy(b[off:], v) } }
	const ip, icmp = wire.HeaderLen, wire.HeaderLen + ipv6HeaderLen
	tests := []struct {
		name  string
		bytes []byte
	}{
		{"nothing", nil},
		{"cut within the target", probe(func([]byte) {})[:frameLen-1]},
		{"another EtherType", probe(at(12, 0x08, 0x00))},
		{"IP version 4", probe(at(ip, 0x45))},
		{"another next header", probe(at(ip+6, 17))},
		{"a hop limit below 255: it came through a router", probe(at(ip+7, 254))},
		{"a payload longer than the frame", probe(at(ip+4, 0, 25))},
		{"a payload shorter than a message", probe(at(ip+4, 0, 23))},
		{"a wrong checksum", probe(at(icmp+3, 0))},
		{"a changed target", probe(at(icmp+23, 0))},
		{"a code", sum(probe(at(icmp+1, 1)))},
		{"a router advertisement", sum(probe(at(icmp, 134)))},
		{"a multicast target", sum(probe(at(icmp+8, 0xff)))},
		{"no target", sum(probe(at(icmp+8, make([]byte, 16)...)))},
		{"an IPv4-mapped target", sum(probe(at(icmp+8, unhex(t, "00000000000000000000ffffc000020a")...)))},
		{"a multicast source", sum(probe(at(ip+8, 0xff)))},
		{"a probe to all nodes", sum(probe(at(ip+24, unhex(t, hexAll)...)))},
		{"an Ethernet source that is a group", probe(at(6, 3))},
		{"a probe with a source's MAC", sum(unhex(t, ether+"60000000 0020 3a ff"+hexZero+hexNode+"87 00 0000 00000000"+hexVIP+"0101 020000000002"))},
		{"an option of no length", sum(unhex(t, ether+"60000000 0020 3a ff"+hexLL+hexNode+"87 00 0000 00000000"+hexVIP+"0100 020000000002"))},
		{"an option longer than the message", sum(unhex(t, ether+"60000000 0020 3a ff"+hexLL+hexNode+"87 00 0000 00000000"+hexVIP+"0e02 020000000002"))},
		{"half an option", sum(unhex(t, ether+"60000000 001c 3a ff"+hexLL+hexNode+"87 00 0000 00000000"+hexVIP+"0101 0200"))},
		{"a link-layer address that is a group", sum(unhex(t, ether+"60000000 0020 3a ff"+hexLL+hexNode+"87 00 0000 00000000"+hexVIP+"0101 330000000002"))},
		{"a solicited advertisement to a group", sum(unhex(t, ether+"60000000 0018 3a ff"+hexLL+hexAll+"88 00 0000 40000000"+hexVIP))},
		{"an advertisement without a source", sum(unhex(t, ether+"60000000 0018 3a ff"+hexZero+hexNode+"88 00 0000 00000000"+hexVIP))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := Parse(tt.bytes); !errors.Is(err, errMalformed) {
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
}

func TestUnknownOptionsArePassedOver(t *testing.T) {
	const ether = "3333ff123456 020000000002 86dd"
	b := sum(unhex(t, ether+"60000000 0038 3a ff"+hexLL+hexNode+"87 00 0000 00000000"+hexVIP+
		"0e01 aabbccddeeff"+ // nonce
		"0102 030303030303 0000000000000000"+ // a link-layer address of another medium
		"0101 020000000002"))
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if f.Link != there {
		t.Errorf("link-layer address %s", f.Link)
	}
}

func TestAddressesOfAnotherFamilyAreRefusedForSending(t *testing.T) {
	for _, s := range []string{"192.0.2.1", "::ffff:192.0.2.1", "::", "ff02::1", "fe80::1%eth0"} {
		if isHost6(netip.MustParseAddr(s)) {
			t.Errorf("%s taken for an IPv6 host address", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, frame := range []Frame{NewProbe(here, vip), NewAnnouncement(here, vip, title)} {
		b, err := frame.AppendTo(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= frameLen {
			// Without a right checksum the fuzzer would never get past it.
			if size := int(binary.BigEndian.Uint16(b[wire.HeaderLen+4:])); size >= messageLen && size <= len(b)-wire.HeaderLen-ipv6HeaderLen {
				sum(b[:wire.HeaderLen+ipv6HeaderLen+size])
			}
		}
		frame, err := Parse(b)
		if err != nil {
			return
		}
		if h, ok := frame.Heard(); !ok || !h.MAC.IsStation() || h.Addr.IsUnspecified() || h.Addr.IsMulticast() {
			t.Errorf("heard %+v, %t", h, ok)
		}
		out, err := frame.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if again != frame {
			t.Errorf("got %+v, then %+v", frame, again)
		}
	})
}

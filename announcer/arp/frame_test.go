package arp

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	marp "github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

var (
	cmpAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	here    = wire.MAC{2, 0, 0, 0, 0, 1}
	there   = wire.MAC{2, 0, 0, 0, 0, 2}
	vip     = netip.MustParseAddr("192.0.2.10")
	node    = netip.MustParseAddr("192.0.2.1")
	title   = wire.Title{Term: 3, Place: 2}
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFramesAndBytes(t *testing.T) {
	tests := []struct {
		name       string
		frame      Frame
		bytes      string
		probe      bool
		gratuitous bool
		linux      bool
		heard      wire.Kind // 0: nothing
		of         netip.Addr
	}{
		{
			name:  "a probe is a broadcast request from 0.0.0.0",
			frame: NewProbe(here, vip),
			bytes: "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 c000020a",
			probe: true, heard: wire.Probe, of: vip,
		},
		{
			name:  "a probe to one machine differs in the Ethernet destination only",
			frame: NewProbeTo(here, vip, there),
			bytes: "020000000002 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 c000020a",
			probe: true, heard: wire.Probe, of: vip,
		},
		{
			name:  "a holder's question shows its title",
			frame: Frame{Dest: wire.Broadcast, Source: here, Op: Request, SenderMAC: here, SenderIP: netip.IPv4Unspecified(), TargetIP: vip, Title: title, Titled: true},
			bytes: "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 c000020a e74b4c77 01 02 0000000000000003",
			probe: true, heard: wire.Probe, of: vip,
		},
		{
			name:       "an announcement as a request",
			frame:      NewAnnouncement(Request, here, vip, title),
			bytes:      "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 c000020a 020000000001 c000020a e74b4c77 01 02 0000000000000003",
			gratuitous: true, linux: true, heard: wire.Claim, of: vip,
		},
		{
			name:       "an announcement as a reply has itself for a target",
			frame:      NewAnnouncement(Reply, here, vip, title),
			bytes:      "ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 c000020a 020000000001 c000020a e74b4c77 01 02 0000000000000003",
			gratuitous: true, linux: true, heard: wire.Claim, of: vip,
		},
		{
			name: "a gratuitous reply to the broadcast address is a claim that Linux doesn't see as one",
			frame: Frame{Dest: wire.Broadcast, Source: here, Op: Reply,
				SenderMAC: here, SenderIP: vip, TargetMAC: wire.Broadcast, TargetIP: vip},
			bytes:      "ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 c000020a ffffffffffff c000020a",
			gratuitous: true, heard: wire.Claim, of: vip,
		},
		{
			name:  "a unicast question speaks for its sender's address",
			frame: NewRequest(here, node, vip, there),
			bytes: "020000000002 020000000001 0806 0001 0800 06 04 0001 020000000001 c0000201 000000000000 c000020a",
			heard: wire.Use, of: node,
		},
		{
			name: "an answer to a probe, from a virtual MAC behind another Ethernet source",
			frame: Frame{Dest: here, Source: there, Op: Reply,
				SenderMAC: wire.MAC{0, 0, 0x5e, 0, 1, 7}, SenderIP: vip, TargetMAC: here, TargetIP: netip.IPv4Unspecified()},
			bytes: "020000000001 020000000002 0806 0001 0800 06 04 0002 00005e000107 c000020a 020000000001 00000000",
			heard: wire.Answer, of: vip,
		},
		{
			name:  "a reply from 0.0.0.0 says nothing",
			frame: Frame{Dest: here, Source: there, Op: Reply, SenderMAC: there, SenderIP: netip.IPv4Unspecified(), TargetMAC: here, TargetIP: vip},
			bytes: "020000000001 020000000002 0806 0001 0800 06 04 0002 020000000002 00000000 020000000001 c000020a",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.frame.AppendTo([]byte("before"))[len("before"):]
			bare := unhex(t, tt.bytes)
			want := append(bare, make([]byte, minFrameLen-len(bare))...)
			if diff := cmp.Diff(want, b); diff != "" {
				t.Errorf("bytes (-want +got):\n%s", diff)
			}
			for _, in := range [][]byte{b, b[:len(bare)], append(b, "trailer"...)} {
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
			if got := tt.frame.IsGratuitous(); got != tt.gratuitous {
				t.Errorf("IsGratuitous() = %t", got)
			}
			if got := tt.frame.MovesLinux(); got != tt.linux {
				t.Errorf("MovesLinux() = %t", got)
			}
			h, ok := tt.frame.Heard()
			if ok != (tt.heard != 0) || h.Kind != tt.heard || h.Addr != tt.of {
				t.Errorf("Heard() = %+v, %t, want %s of %s", h, ok, tt.heard, tt.of)
			}
			if h.Titled != tt.frame.Titled || h.Title != tt.frame.Title {
				t.Errorf("Heard() has title %s, %t", h.Title, h.Titled)
			}
			if ok && (h.MAC != tt.frame.SenderMAC || h.Source != tt.frame.Source) {
				t.Errorf("Heard() is of %s from %s", h.MAC, h.Source)
			}
		})
	}
}

func TestAnotherImplementationReadsOurFrames(t *testing.T) {
	for _, f := range []Frame{
		NewProbe(here, vip), NewAnnouncement(Request, here, vip, title), NewAnnouncement(Reply, here, vip, title), NewRequest(here, node, vip, there),
	} {
		var e ethernet.Frame
		if err := e.UnmarshalBinary(f.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		var p marp.Packet
		if err := p.UnmarshalBinary(e.Payload); err != nil {
			t.Fatal(err)
		}
		sha, _ := wire.MACFrom(p.SenderHardwareAddr)
		tha, _ := wire.MACFrom(p.TargetHardwareAddr)
		src, _ := wire.MACFrom(e.Source)
		dst, _ := wire.MACFrom(e.Destination)
		f.Title, f.Titled = wire.Title{}, false // padding to others
		got := Frame{Source: src, Dest: dst, Op: Op(p.Operation), SenderMAC: sha, SenderIP: p.SenderIP, TargetMAC: tha, TargetIP: p.TargetIP}
		if diff := cmp.Diff(f, got, cmpAddr); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestOddFramesAreRefused(t *testing.T) {
	tests := []struct{ name, bytes string }{
		{"nothing", ""},
		{"cut within the target address", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 c00002"},
		{"another EtherType", "ffffffffffff 020000000001 0800 0001 0800 06 04 0001 020000000001 00000000 000000000000 c000020a"},
		{"hardware that is no Ethernet", "ffffffffffff 020000000001 0806 0006 0800 06 04 0001 020000000001 00000000 000000000000 c000020a"},
		{"a protocol that is no IPv4", "ffffffffffff 020000000001 0806 0001 86dd 06 04 0001 020000000001 00000000 000000000000 c000020a"},
		{"long hardware addresses", "ffffffffffff 020000000001 0806 0001 0800 08 04 0001 020000000001 00000000 000000000000 c000020a"},
		{"long protocol addresses", "ffffffffffff 020000000001 0806 0001 0800 06 10 0001 020000000001 00000000 000000000000 c000020a"},
		{"a reverse ARP operation", "ffffffffffff 020000000001 0806 0001 0800 06 04 0003 020000000001 00000000 000000000000 c000020a"},
		{"a sender that is a group", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 030000000001 00000000 000000000000 c000020a"},
		{"a sender without an address", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 000000000000 00000000 000000000000 c000020a"},
		{"an Ethernet source that is a group", "ffffffffffff ffffffffffff 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 c000020a"},
		{"a multicast sender address", "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 e0000001 000000000000 c000020a"},
		{"a broadcast sender address", "ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 ffffffff 000000000000 c000020a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := Parse(unhex(t, tt.bytes)); !errors.Is(err, errMalformed) {
				t.Errorf("got %+v, %v", f, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(NewProbe(here, vip).AppendTo(nil))
	f.Add(NewAnnouncement(Reply, here, vip, title).AppendTo(nil))
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		if err != nil {
			return
		}
		if h, ok := frame.Heard(); ok && (!h.Addr.Is4() || h.Addr.IsUnspecified() || !h.MAC.IsStation()) {
			t.Errorf("heard %+v", h)
		}
		again, err := Parse(frame.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		if again != frame {
			t.Errorf("got %+v, then %+v", frame, again)
		}
		if !strings.HasPrefix(string(b), string(frame.AppendTo(nil)[:frameLen])) {
			t.Errorf("%x became %x", b, frame.AppendTo(nil))
		}
	})
}

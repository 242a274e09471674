package echo

import (
	"net/netip"
	"testing"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

var (
	here  = wire.MAC{2, 0, 0, 0, 0, 1}
	there = wire.MAC{2, 0, 0, 0, 0, 2}
	own4  = netip.MustParseAddr("192.0.2.101")
	vip4  = netip.MustParseAddr("192.0.2.10")
	own6  = netip.MustParseAddr("2001:db8::101")
	vip6  = netip.MustParseAddr("2001:db8::10")
)

// answer turns a question round, as the kernel does: MAC and IP addresses swapped, the type that of a reply. One's complement
// checksums don't depend on the order of the addresses, and differ by the type alone.
func answer(t *testing.T, from, to netip.Addr, id, seq uint16) []byte {
	t.Helper()
	frame, err := question(there, here, to, from, id, seq)
	if err != nil {
		t.Fatal(err)
	}
	message, kind := wire.HeaderLen+ipv4HeaderLen, byte(0)
	if !from.Is4() {
		message, kind = wire.HeaderLen+ipv6HeaderLen, 129
	}
	old := uint16(frame[message]) << 8
	frame[message] = kind
	sum := uint32(uint16(frame[message+2])<<8|uint16(frame[message+3])) + uint32(old) + uint32(^(uint16(kind) << 8))
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	frame[message+2], frame[message+3] = byte(sum>>8), byte(sum)
	return frame
}

func asked(t *testing.T, from, to netip.Addr) []byte {
	t.Helper()
	frame, err := question(there, here, from, to, 7, 9)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func TestParse(t *testing.T) {
	change := func(frame []byte, at int, to byte) []byte { frame[at] = to; return frame }
	tests := []struct {
		name  string
		frame []byte
		want  netip.Addr // invalid: refused
		asks  bool
	}{
		{"an IPv4 answer", answer(t, own4, vip4, 7, 9), vip4, false},
		{"an IPv6 answer", answer(t, own6, vip6, 7, 9), vip6, false},
		{"padding of a short frame is passed over", append(answer(t, own4, vip4, 7, 9), make([]byte, 18)...), vip4, false},
		{"an IPv4 question", asked(t, vip4, own4), vip4, true},
		{"an IPv6 question", asked(t, vip6, own6), vip6, true},
		{"a frame of a group is refused", change(answer(t, own4, vip4, 7, 9), 6, 1), netip.Addr{}, false},
		{"an IPv6 packet that is shorter than it says is refused", answer(t, own6, vip6, 7, 9)[:wire.HeaderLen+ipv6HeaderLen+7], netip.Addr{}, false},
		{"a wrong checksum is refused", change(answer(t, own4, vip4, 7, 9), wire.HeaderLen+ipv4HeaderLen+7, 10), netip.Addr{}, false},
		{"a wrong IPv6 checksum is refused", change(answer(t, own6, vip6, 7, 9), wire.HeaderLen+ipv6HeaderLen+7, 10), netip.Addr{}, false},
		{"a fragment is refused", change(answer(t, own4, vip4, 7, 9), wire.HeaderLen+6, 0x20), netip.Addr{}, false},
		{"a frame that is cut is refused", answer(t, own4, vip4, 7, 9)[:40], netip.Addr{}, false},
		{"nothing is refused", nil, netip.Addr{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.frame)
			if !tt.want.IsValid() {
				if err == nil {
					t.Errorf("parsed %+v, want an error", got)
				}
				return
			}
			if want := (Message{Addr: tt.want, MAC: there, Question: tt.asks, Hops: hops, ID: 7, Seq: 9}); err != nil || got != want {
				t.Errorf("parsed %+v (%v), want %+v", got, err, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	for _, pair := range [][2]netip.Addr{{own4, vip4}, {own6, vip6}} {
		if frame, err := question(there, here, pair[1], pair[0], 7, 9); err == nil {
			f.Add(frame)
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if m, err := parse(frame); err == nil && (!m.Addr.IsValid() || !m.MAC.IsStation()) {
			t.Errorf("a message of nobody from %x", frame)
		}
	})
}

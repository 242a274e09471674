package lab

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

func TestInternetChecksum(t *testing.T) {
	tests := []struct {
		name string
		give []byte
		want uint16
	}{
		{"the example of RFC 1071, section 3", []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, ^uint16(0xddf2)},
		{"a carry that makes another one", []byte{0xff, 0xff, 0xff, 0xff, 0x00, 0x01}, ^uint16(1)},
		{"nothing", nil, 0xffff},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := internetChecksum(tt.give); got != tt.want {
				t.Errorf("checksum = %#x, want %#x", got, tt.want)
			}
		})
	}
}

func TestAnAcknowledgementIsOneThatTheKernelWouldSend(t *testing.T) {
	from, to := netip.MustParseAddrPort("192.0.2.3:40000"), netip.MustParseAddrPort("192.0.2.10:80")
	packet := acknowledge(from, to, 0xfedcba98, 0x01234567)
	ip, tcp := packet[:20], packet[20:]
	if internetChecksum(ip) != 0 || int(binary.BigEndian.Uint16(ip[2:])) != len(packet) {
		t.Errorf("IP header % x: the checksum or the length is wrong", ip)
	}
	if pseudo := append(append([]byte{}, ip[12:20]...), 0, 6, 0, 20); internetChecksum(append(pseudo, tcp...)) != 0 {
		t.Errorf("TCP header % x: the checksum is wrong", tcp)
	}
	if flags := tcp[13]; flags != 0x10 {
		t.Errorf("flags = %#x, want ACK alone", flags)
	}
	if binary.BigEndian.Uint32(tcp[4:]) != 0xfedcba98 || binary.BigEndian.Uint32(tcp[8:]) != 0x01234567 {
		t.Errorf("TCP header % x: the sequence numbers are wrong", tcp)
	}
}

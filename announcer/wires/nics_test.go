package wires

import (
	"net/netip"
	"testing"
	"time"

	"evenkeel.io/evenkeel/announcer/probe"
)

// TestAClaimIsPassedOnForEachNICThatHearsIt: two NICs may be on one segment, and only what the VIP's own hears counts.
func TestAClaimIsPassedOnForEachNICThatHearsIt(t *testing.T) {
	var heard []string
	s := New(Options{Heard: func(nicName string, _ probe.Heard) { heard = append(heard, nicName) }})
	s.Follow([]netip.Addr{vip})
	claim := probe.Heard{Addr: vip, MAC: probe.MAC{2, 0, 0, 0, 0, 9}, Source: probe.MAC{2, 0, 0, 0, 0, 9}, Kind: probe.KindClaim, At: time.Now()}
	for _, nicName := range []string{"eth1", "eth0", "eth1"} {
		s.hear(nicName, claim)
	}
	if len(heard) != 2 || heard[0] != "eth1" || heard[1] != "eth0" {
		t.Errorf("passed on for %v, want once for each of eth1 and eth0", heard)
	}
}

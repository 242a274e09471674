package probe

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
)

// controlTries bounds the search for unused addresses in a crowded subnet.
const controlTries = 64

// Controls picks up to n addresses of subnet that stand far from addr in no
// particular order, the same ones for the same input, and that used doesn't
// know of. The network, router anycast and broadcast addresses are left out.
// A subnet too small for n gives fewer or none.
//
// Two make it unlikely that a machine which owns addr is taken for a proxy
// because it happens to own a control address as well.
func Controls(subnet netip.Prefix, addr netip.Addr, n int, used func(netip.Addr) bool) []netip.Addr {
	subnet = subnet.Masked()
	if !subnet.IsValid() || addr.Is4() != subnet.Addr().Is4() || subnet.Addr().BitLen()-subnet.Bits() < 2 {
		return nil
	}
	var picked []netip.Addr
	seen := map[netip.Addr]bool{addr: true}
	for try := uint64(0); try < controlTries && len(picked) < n; try++ {
		a := candidate(subnet, addr, try)
		if seen[a] || reserved(subnet, a) || used != nil && used(a) {
			continue
		}
		seen[a] = true
		picked = append(picked, a)
	}
	return picked
}

// candidate fills the host part of subnet with a hash of addr and try.
func candidate(subnet netip.Prefix, addr netip.Addr, try uint64) netip.Addr {
	h := fnv.New128a()
	h.Write(addr.AsSlice())
	h.Write(binary.BigEndian.AppendUint64(nil, try))
	sum := h.Sum(nil)
	b := subnet.Addr().AsSlice()
	// The end of the hash against the end of the address.
	sum = sum[len(sum)-len(b):]
	for i := range b {
		host := byte(0xff)
		if bits := subnet.Bits() - 8*i; bits >= 8 {
			host = 0
		} else if bits > 0 {
			host = 0xff >> bits
		}
		b[i] |= sum[i] & host
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// reserved reports whether a is the first of subnet (the network, or the
// subnet-router anycast address) or, in IPv4, the last (the broadcast).
func reserved(subnet netip.Prefix, a netip.Addr) bool {
	return a == subnet.Addr() || a.Is4() && !subnet.Contains(a.Next())
}

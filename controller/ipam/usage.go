package ipam

import (
	"encoding/binary"
	"math/bits"
	"net/netip"

	"go4.org/netipx"
)

// maxCount caps counts where JSON readers still agree on them: 2^53.
const maxCount = 1 << 53

// Usage counts addresses of one family in one pool. Each is capped at 2^53.
type Usage struct {
	// Assigned addresses are used by a VIP or a placeholder.
	Assigned int64
	// Withheld addresses can't be handed out though nothing uses them: nodes' own, quarantined.
	Withheld int64
	// Available addresses can be handed out.
	Available int64
}

// Usage counts a pool's addresses by family. A family that the pool doesn't have is left out.
func (t *Table) Usage(pool string, claims *Claims) map[Family]Usage {
	c := t.pools[pool]
	if c == nil {
		return nil
	}
	sizes := map[Family]uint64{}
	for _, r := range c.ranges {
		family := FamilyOf(r.From())
		size := rangeSize(r)
		if c.AvoidBuggyIPs && family == IPv4 {
			size -= buggyIn(r)
		}
		sizes[family] = addCapped(sizes[family], size)
	}
	usage := make(map[Family]Usage, len(sizes))
	for family := range sizes {
		usage[family] = Usage{}
	}
	for addr, holders := range claims.byAddr {
		if t.find(addr) != c || !c.usable(addr) {
			continue
		}
		u := usage[FamilyOf(addr)]
		if holders[0].Kind.Counts() || anyCounts(holders) {
			u.Assigned++
		} else {
			u.Withheld++
		}
		usage[FamilyOf(addr)] = u
	}
	for family, size := range sizes {
		u := usage[family]
		u.Available = min(int64(size)-u.Assigned-u.Withheld, maxCount)
		usage[family] = u
	}
	return usage
}

func anyCounts(holders []Holder) bool {
	for _, holder := range holders {
		if holder.Kind.Counts() {
			return true
		}
	}
	return false
}

// saturated is far above maxCount and far below overflow.
const saturated = 1 << 62

func addCapped(a, b uint64) uint64 { return min(a+b, saturated) } // both are at most 2^62

// rangeSize counts a range's addresses, at most 2^62.
func rangeSize(r netipx.IPRange) uint64 {
	fromHi, fromLo := halves(r.From())
	toHi, toLo := halves(r.To())
	lo, borrow := bits.Sub64(toLo, fromLo, 0)
	hi, _ := bits.Sub64(toHi, fromHi, borrow)
	if hi != 0 || lo >= saturated {
		return saturated
	}
	return lo + 1
}

func halves(addr netip.Addr) (hi, lo uint64) {
	b := addr.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// buggyIn counts the addresses of an IPv4 range that end in .0 or .255.
func buggyIn(r netipx.IPRange) uint64 {
	below := func(n uint64) uint64 { return (n+255)/256 + n/256 } // of the addresses 0..n-1
	_, from := halves(r.From())
	_, to := halves(r.To())
	from, to = from&0xffffffff, to&0xffffffff
	return below(to+1) - below(from)
}

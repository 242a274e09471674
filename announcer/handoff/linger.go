package handoff

import (
	"net/netip"
	"slices"
	"time"
)

// lingerFor is how long at least (until the next Update after it) what this node handed on for a VIP is handed on after the VIP has moved on: frames that were under way, and
// those of clients that missed the new owner's first announcement (it is repeated after 1.1, 2.2 and 5 s). Without it they would reach a
// backend that doesn't know them, and reset what the new owner serves on.
const lingerFor = 10 * time.Second

// lingering is what goes on for a VIP that has moved on.
type lingering struct {
	entries []Entry
	owners  []Owner
	until   time.Time
}

// linger remembers what was handed on for a VIP that moves on.
func (c *Core) linger(addr netip.Addr, t *tenure, now time.Time) {
	if len(t.emitted) > 0 {
		c.late[addr] = lingering{entries: t.emitted, owners: t.owners(), until: now.Add(lingerFor)}
	}
}

// emitLate adds what lingers to the result, and the MAC addresses that the loop guard needs for it. It ends early with a new tenure, with
// an earlier owner that is gone, and where the Service refuses.
func (c *Core) emitLate(in Input, peers map[MAC]struct{}, now time.Time, r *Result) {
	for addr, late := range c.late {
		refused := slices.ContainsFunc(in.VIPs, func(vip VIP) bool { return vip.Addr == addr && (vip.Held || vip.Off) })
		if refused || !now.Before(late.until) || slices.ContainsFunc(late.owners, in.gone) {
			delete(c.late, addr)
			continue
		}
		r.State.Entries = append(r.State.Entries, late.entries...)
		addOwners(peers, late.owners)
	}
}

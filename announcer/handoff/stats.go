package handoff

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"

	"evenkeel.io/evenkeel/announcer/nft"
)

// Stats reads what was handed on for each VIP, and what the loop guard refused.
func (t *Table) Stats(context.Context) (map[netip.Addr]Use, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return nil, err
	}
	uses := map[netip.Addr]Use{}
	for _, f := range t.families {
		for _, k := range []kind{used, refused, flows} {
			list, err := c.GetSetElements(t.set(k, f))
			if err != nil {
				return nil, fmt.Errorf("reading what was handed on: set %s: %w", kindNames[k], err)
			}
			now := time.Now()
			for _, el := range list {
				t.use(k, f, el, now, uses)
			}
		}
	}
	return uses, nil
}

// use adds one element of the sets that the rules fill.
func (t *Table) use(k kind, f family, el nftables.SetElement, now time.Time, uses map[netip.Addr]Use) {
	n := addrLen(f.v6)
	if len(el.Key) < n {
		return
	}
	vip, _ := netip.AddrFromSlice(el.Key[len(el.Key)-n:]) // of a flow it is the last part
	u := uses[vip]
	switch {
	case k == flows:
		u.Flows++
	case el.Counter == nil:
		return
	case k == used:
		u.Packets, u.Bytes = el.Counter.Packets, el.Counter.Bytes
		u.Last = now.Add(el.Expires - t.memory())
	default:
		u.Refused = el.Counter.Packets
	}
	uses[vip] = u
}

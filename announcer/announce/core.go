package announce

import (
	"encoding/binary"
	"hash/fnv"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// class orders what is due at the same time; the lower goes first and keeps
// less of the rate limit back.
type class uint8

const (
	first class = iota
	repeat
	refresh
)

// key names an address on an interface.
type key struct {
	addr netip.Addr
	link string
}

// entry is the state of one address on one interface.
type entry struct {
	key
	link  Link
	title wire.Title
	// due is when the next announcement is to be sent, and class why.
	due   time.Time
	class class
	// first is when the first announcement was sent; zero before it.
	first time.Time
	// last is when the last announcement was sent.
	last time.Time
	// refreshes counts the refreshes, as the seed of the jitter.
	refreshes uint64
	// defended is the time of the last Now.
	defended time.Time
	// held is until when nothing is sent.
	held time.Time
}

// core is the schedule: a function of calls and of times, without locks.
type core struct {
	plan    Plan
	entries map[key]*entry
}

func newCore(p Plan) *core { return &core{plan: p, entries: map[key]*entry{}} }

// start adds an entry that is due at once; it returns false if it is there.
func (c *core) start(addr netip.Addr, link Link, title wire.Title, now time.Time) bool {
	k := key{addr, link.Name()}
	if e, ok := c.entries[k]; ok && e.link == link {
		e.title = title
		return false
	}
	c.entries[k] = &entry{key: k, link: link, title: title, due: now}
	return true
}

func (c *core) retitle(addr netip.Addr, title wire.Title) {
	for k, e := range c.entries {
		if k.addr == addr {
			e.title = title
		}
	}
}

// again starts the plan of addr anew, at least againGap after its last frame.
func (c *core) again(addr netip.Addr, now time.Time) {
	for k, e := range c.entries {
		if k.addr != addr || e.first.IsZero() {
			continue
		}
		e.first, e.class = time.Time{}, first
		e.due = latest(now, latest(e.last.Add(againGap), e.held))
	}
}

// hold puts off what is due for an address, for the zero one: for all.
func (c *core) hold(addr netip.Addr, until time.Time) {
	for k, e := range c.entries {
		if k.addr == addr || !addr.IsValid() {
			e.held = latest(e.held, until)
			e.due = latest(e.due, e.held)
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (c *core) stop(addr netip.Addr) {
	for k := range c.entries {
		if k.addr == addr {
			delete(c.entries, k)
		}
	}
}

func (c *core) stopOn(addr netip.Addr, link string) { delete(c.entries, key{addr, link}) }

// now makes the entries of addr due, each at most once per DefendInterval
// (RFC 5227 section 2.4); it returns whether any became due.
func (c *core) now(addr netip.Addr, now time.Time) bool {
	due := false
	for k, e := range c.entries {
		if k.addr != addr || !e.defended.IsZero() && now.Sub(e.defended) < c.plan.DefendInterval {
			continue
		}
		e.defended = now
		due = true
		if e.first.IsZero() {
			// Its first announcement is still due and does as well.
			continue
		}
		e.due, e.class = latest(now, e.held), first
	}
	return due
}

// next returns the entry to send first among those that are due, or nil and
// when one will be; the zero time if there is none.
func (c *core) next(now time.Time) (*entry, time.Time) {
	var best *entry
	var at time.Time
	for _, e := range c.entries {
		switch {
		case e.due.After(now):
			if at.IsZero() || e.due.Before(at) {
				at = e.due
			}
		case best == nil || before(e, best):
			best = e
		}
	}
	if best != nil {
		return best, time.Time{}
	}
	return nil, at
}

// before orders due entries: by class, then by how long they wait, then by key
// so that the order is the same in every run.
func before(a, b *entry) bool {
	if a.class != b.class {
		return a.class < b.class
	}
	if !a.due.Equal(b.due) {
		return a.due.Before(b.due)
	}
	if a.addr != b.addr {
		return a.addr.Less(b.addr)
	}
	return a.key.link < b.key.link
}

// sent records an announcement at now and plans the next one. What was missed
// meanwhile is not made up for.
func (c *core) sent(e *entry, now time.Time) {
	if e.first.IsZero() {
		e.first = now
	}
	e.last = now
	for _, offset := range c.plan.Repeats {
		due := e.first.Add(offset)
		if !due.After(now) {
			continue
		}
		// A frame within a second of the last one does nothing at receivers
		// that lock their entries (Linux: LOCKTIME).
		if gap := now.Add(minGap); due.Before(gap) {
			due = gap
		}
		e.due, e.class = due, repeat
		return
	}
	e.due, e.class = now.Add(c.plan.jitter(e.key, e.refreshes)), refresh
	e.refreshes++
}

// postpone puts an entry off that could not or must not be sent now.
func (c *core) postpone(e *entry, until time.Time) { e.due = until }

// jitter returns the wait before the nth refresh of k: spread evenly between
// the two bounds, the same for the same key and n on every node.
func (p Plan) jitter(k key, n uint64) time.Duration {
	span := p.RefreshMax - p.RefreshMin
	if span <= 0 {
		return p.RefreshMin
	}
	h := fnv.New64a()
	b := k.addr.As16()
	h.Write(b[:])
	h.Write([]byte(k.link))
	h.Write(binary.BigEndian.AppendUint64(nil, n))
	// FNV leaves its last octet's difference in the low bits; fold the high
	// half in, so that the remainder depends on all of it.
	v := h.Sum64()
	v ^= v >> 32
	return p.RefreshMin + time.Duration(v%uint64(span))
}

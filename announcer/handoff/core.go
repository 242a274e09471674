package handoff

import (
	"cmp"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Slots is the number of earlier owners that a VIP's unknown packets are copied to; there is a map for each.
const Slots = placeholder.MaxPreviousOwners

// Limits bound the life of an entry.
type Limits struct {
	// Idle ends an entry when no packet was handed on for its VIP for so long.
	Idle time.Duration
	// Max ends it in any case.
	Max time.Duration
}

// The limits that apply where none are given.
const (
	DefaultIdle = 5 * time.Minute
	DefaultMax  = time.Hour
)

// Core decides what the kernel hands on. It is a state machine over values: no kernel, no clock, no lock. One goroutine
// may use it at a time.
type Core struct {
	node   string
	limits Limits

	tenures map[netip.Addr]*tenure
	// left are the VIPs that others may still send copies for, and until when.
	left map[Guard]time.Time
	// late is what is handed on a little longer for VIPs that have moved on.
	late map[netip.Addr]lingering
	// inherited is what a process before left in the kernel for VIPs that it held and no Update has named yet.
	inherited map[netip.Addr][]Entry
	// inheritedPeers stay in the loop guard until the last inherited entry has ended for certain.
	inheritedPeers []MAC
	adopted        time.Time
}

// tenure is the time for which this node holds a VIP.
type tenure struct {
	entries []*entry // the newest earlier owner first
	// emitted is what the kernel was last to hold.
	emitted []Entry
	// over are the nodes whose entries have ended: they don't come back while we hold the VIP.
	over map[string]struct{}
	// bereft says that an earlier owner died, so that there are flows which nobody knows.
	bereft bool
}

type entry struct {
	owner   Owner
	started time.Time
	used    time.Time  // when a packet was last handed on for the VIP; zero: none was
	to      netip.Addr // of an inherited entry whose owner nobody has named yet
}

// NewCore returns the Core of a node. Zero limits are the defaults.
func NewCore(node string, limits Limits) (*Core, error) {
	limits.Idle = cmp.Or(limits.Idle, DefaultIdle)
	limits.Max = cmp.Or(limits.Max, DefaultMax)
	if node == "" || limits.Idle < 0 || limits.Max < 0 {
		return nil, errors.New("checking limits: a node's name and positive times are needed")
	}
	return &Core{
		node: node, limits: limits,
		tenures: map[netip.Addr]*tenure{}, left: map[Guard]time.Time{}, late: map[netip.Addr]lingering{}, inherited: map[netip.Addr][]Entry{},
	}, nil
}

// Adopt takes what a process before left in the kernel, as Table.Open returns it: its entries go on with their age, and
// those that had ended aren't begun anew. It is called once, before the first Update.
func (c *Core) Adopt(state State, now time.Time) {
	held := map[netip.Addr]bool{}
	for _, g := range state.Guards {
		if held[g.VIP] = held[g.VIP] || g.Held; g.Held {
			c.inherited[g.VIP] = nil
		}
		g.Held = false
		c.left[g] = now.Add(c.limits.Max)
	}
	for _, e := range state.Entries {
		if !held[e.VIP] {
			continue // it has moved on
		}
		c.inherited[e.VIP] = append(c.inherited[e.VIP], e)
	}
	c.inheritedPeers = slices.Clone(state.Peers)
	c.adopted = now
}

// Update takes the whole input and returns what the kernel should hold from now on, and which entries have ended since
// the last call. Calling it again with the same input changes nothing.
func (c *Core) Update(in Input, now time.Time) Result {
	var r Result
	held := map[netip.Addr]bool{}
	guards := map[Guard]struct{}{}
	for _, vip := range in.VIPs {
		g := Guard{VIP: vip.Addr, Interface: vip.Interface}
		c.left[g] = now.Add(c.limits.Max)
		if vip.Held {
			held[vip.Addr] = true
			g.Held = true
		}
		guards[g] = struct{}{}
	}
	for _, addr := range slices.SortedFunc(maps.Keys(c.tenures), netip.Addr.Compare) {
		if !held[addr] {
			c.linger(addr, c.tenures[addr], now)
			c.tenures[addr].endAll(addr, Left, in, c.limits, now, &r)
			delete(c.tenures, addr)
		}
	}
	peers := map[MAC]struct{}{}
	addPeers(peers, in.Peers)
	for _, vip := range in.VIPs {
		addOwners(peers, vip.Earlier)
		if vip.Held {
			c.hold(vip, in, now, &r)
			addOwners(peers, c.tenures[vip.Addr].owners())
		}
		delete(c.inherited, vip.Addr)
	}
	c.emitLate(in, peers, now, &r)
	if now.Sub(c.adopted) < c.limits.Max {
		addPeers(peers, c.inheritedPeers)
	}
	if now.Sub(c.adopted) >= c.limits.Idle {
		clear(c.inherited) // who comes back later has been elsewhere
	}
	for g, until := range c.left {
		if !now.Before(until) {
			delete(c.left, g)
			continue
		}
		if _, ok := guards[Guard{g.VIP, g.Interface, true}]; !ok {
			guards[g] = struct{}{}
		}
	}
	r.State.Guards = slices.SortedFunc(maps.Keys(guards), Guard.compare)
	r.State.Peers = slices.SortedFunc(maps.Keys(peers), MAC.Compare)
	slices.SortFunc(r.State.Entries, Entry.compare)
	return r
}

// hold brings one VIP's tenure up to date and adds its entries to the result.
func (c *Core) hold(vip VIP, in Input, now time.Time, r *Result) {
	t := c.tenures[vip.Addr]
	if t == nil {
		t = &tenure{over: map[string]struct{}{}}
		c.tenures[vip.Addr] = t
		c.resume(t, vip)
	}
	t.emitted = nil
	if vip.Off {
		t.endAll(vip.Addr, Off, in, c.limits, now, r)
		return
	}
	t.learn(vip.Earlier, c.node, in, now)
	t.entries = slices.DeleteFunc(t.entries, func(e *entry) bool {
		reason, over := e.over(vip.Addr, in, c.limits, now)
		if over {
			t.end(vip.Addr, e, reason, in, c.limits, now, r)
			t.bereft = t.bereft || reason == Gone
		}
		return over
	})
	c.emit(t, vip, in, now, r)
}

// resume continues what a process before has begun for a VIP that it held.
func (c *Core) resume(t *tenure, vip VIP) {
	list, known := c.inherited[vip.Addr]
	if !known {
		return
	}
	for _, owner := range vip.Earlier {
		t.over[owner.Node] = struct{}{} // had it not ended, it would be among the inherited ones
	}
	for _, old := range list {
		delete(t.over, old.Node)
		t.entries = append(t.entries, &entry{owner: Owner{Node: old.Node}, started: old.Started, used: old.Used, to: old.To})
	}
}

// learn begins entries for earlier owners that are new here, in their order. Who is no longer listed stays: that it owned
// the VIP can't become untrue.
func (t *tenure) learn(earlier []Owner, self string, in Input, now time.Time) {
	var list []*entry
	taken := map[string]struct{}{self: {}}
	for _, owner := range earlier {
		if _, ok := taken[owner.Node]; ok {
			continue
		}
		taken[owner.Node] = struct{}{}
		if i := slices.IndexFunc(t.entries, func(e *entry) bool { return e.owner.Node == owner.Node }); i >= 0 {
			t.entries[i].owner, t.entries[i].to = owner, netip.Addr{}
			list = append(list, t.entries[i])
			continue
		}
		if _, ok := t.over[owner.Node]; ok {
			continue
		}
		if in.gone(owner) {
			t.over[owner.Node] = struct{}{}
			t.bereft = true
			continue
		}
		if len(taken) <= Slots+1 { // this node is among them
			list = append(list, &entry{owner: owner, started: now})
		}
	}
	for _, e := range t.entries {
		if _, ok := taken[e.owner.Node]; !ok {
			list = append(list, e)
		}
	}
	t.entries = list
}

// emit adds the entries that can be reached to the result.
func (c *Core) emit(t *tenure, vip VIP, in Input, now time.Time, r *Result) {
	var used []netip.Addr
	for _, e := range slices.Clone(t.entries) {
		if len(used) == Slots || t.bereft && len(used) == 1 {
			// With a dead one among the earlier owners there are flows that nobody knows. Only a sole earlier owner
			// may refuse what it doesn't know, and they deserve their reset.
			reason := Crowded
			if t.bereft {
				reason = Bereft
			}
			t.entries = slices.DeleteFunc(t.entries, func(other *entry) bool { return other == e })
			t.end(vip.Addr, e, reason, in, c.limits, now, r)
			continue
		}
		to, ok := e.to, e.to.IsValid()
		why := NoMAC
		if !ok && len(e.owner.MACs) > 0 {
			to, ok = vip.reach(e.owner.Addrs)
			why = NotOnLink
		}
		if !ok || slices.Contains(used, to) {
			if !ok {
				r.Skipped = append(r.Skipped, Skip{VIP: vip.Addr, Node: e.owner.Node, Why: why})
			}
			continue
		}
		t.emitted = append(t.emitted, Entry{
			VIP: vip.Addr, Interface: vip.Interface, Slot: len(used), To: to, Node: e.owner.Node, Started: e.started, Used: roundUp(e.used),
		})
		used = append(used, to)
	}
	r.State.Entries = append(r.State.Entries, t.emitted...)
}

// roundUp spares the kernel a change with every look.
func roundUp(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(time.Minute - 1).Truncate(time.Minute)
}

// over says whether an entry ends, and why.
func (e *entry) over(vip netip.Addr, in Input, limits Limits, now time.Time) (Reason, bool) {
	if use := in.Uses[vip].Last; use.After(e.used) {
		e.used = use
	}
	last := e.started
	if e.used.After(last) {
		last = e.used
	}
	switch {
	case in.gone(e.owner):
		return Gone, true
	case now.Sub(e.started) >= limits.Max:
		return Expired, true
	case now.Sub(last) >= limits.Idle:
		return Quiet, true
	}
	return "", false
}

func (t *tenure) end(vip netip.Addr, e *entry, reason Reason, in Input, limits Limits, now time.Time, r *Result) {
	t.over[e.owner.Node] = struct{}{}
	ended := Ended{VIP: vip, Node: e.owner.Node, Reason: reason}
	if use, ok := in.Uses[vip]; ok && now.Sub(use.Last) < limits.Idle {
		ended.Flows = use.Flows
	}
	r.Ended = append(r.Ended, ended)
}

func (t *tenure) endAll(vip netip.Addr, reason Reason, in Input, limits Limits, now time.Time, r *Result) {
	for _, e := range t.entries {
		t.end(vip, e, reason, in, limits, now, r)
	}
	t.entries = nil
}

func (t *tenure) owners() []Owner {
	list := make([]Owner, len(t.entries))
	for i, e := range t.entries {
		list[i] = e.owner
	}
	return list
}

func addPeers(set map[MAC]struct{}, list []MAC) {
	for _, mac := range list {
		set[mac] = struct{}{}
	}
}

func addOwners(set map[MAC]struct{}, list []Owner) {
	for _, owner := range list {
		addPeers(set, owner.MACs)
	}
}

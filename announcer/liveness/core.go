package liveness

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// heartbeat is the longest time between two turns: a turn that is late by more says that the process was asleep.
const heartbeat = 500 * time.Millisecond

// Core decides. See New.
type Core struct {
	config Config
	peers  map[peerKey]*peer
	order  []*peer                // sorted, so that nothing depends on a map's order
	guards map[netip.Addr]*target // what is stood by for
	plan   Plan
	nics   map[string]*earshot
	past   history
	// turned is the last turn, due when the next one ought to be.
	turned, due time.Time
	urgent      bool
	events      []Event
	stats       Stats
}

// New returns a core without targets.
func New(config Config) *Core {
	return &Core{
		config: config, peers: map[peerKey]*peer{}, guards: map[netip.Addr]*target{}, nics: map[string]*earshot{},
		past: history{mistakes: map[netip.Addr][]time.Time{}}, plan: config.plan(nil),
		stats: Stats{Sent: map[Kind]uint64{}, Unanswered: map[Kind]uint64{}},
	}
}

// SetTargets replaces the targets. What is known of those that stay is kept; another node, interface or purpose is a new target.
func (c *Core) SetTargets(targets []Target, now time.Time) {
	var guarded, chased []*target
	for _, one := range targets {
		if one.Chase {
			chased = append(chased, &target{Target: one, begun: now})
			continue
		}
		guarded = append(guarded, &target{Target: one, begun: now})
	}
	c.replace(chasing, chased, now)
	c.replace(guarding, guarded, now)
	c.guards = map[netip.Addr]*target{}
	var addresses []int
	for _, p := range c.order {
		if p.purpose != guarding {
			continue
		}
		addresses = append(addresses, len(p.targets))
		for _, t := range p.targets {
			if !t.shadow {
				c.guards[t.Addr] = t
			}
		}
	}
	c.plan = c.config.plan(addresses)
	c.past.prune(now)
}

// SetNeighbours replaces the nodes that are watched at a low rate.
func (c *Core) SetNeighbours(neighbours []Neighbour, now time.Time) {
	var watched []*target
	for _, n := range neighbours {
		watched = append(watched, &target{Target: Target{Addr: n.Addr, NIC: n.NIC, MAC: n.MAC}, node: n.Node, begun: now})
	}
	c.replace(neighbouring, watched, now)
}

// replace makes the targets of one purpose those wanted.
func (c *Core) replace(of purpose, wanted []*target, now time.Time) {
	known := map[peerKey]map[netip.Addr]*target{}
	for key, p := range c.peers {
		if key.purpose == of {
			known[key] = p.byAddr
			p.targets, p.byAddr = nil, map[netip.Addr]*target{}
		}
	}
	for _, t := range wanted {
		key := peerKey{t.NIC, t.MAC, of}
		if old, ok := known[key][t.Addr]; ok && !old.shadow && old.node == t.node {
			old.Rank = t.Rank
			t = old
		}
		c.join(key, t, now)
		if t.successor != nil {
			c.join(peerKey{t.NIC, t.successor.MAC, of}, t.successor, now)
		}
	}
	for key, p := range c.peers {
		if len(p.targets) == 0 {
			delete(c.peers, key)
			continue
		}
		slices.SortFunc(p.targets, func(a, b *target) int { return a.Addr.Compare(b.Addr) })
	}
	c.sort()
}

// join adds a target to its peer.
func (c *Core) join(key peerKey, t *target, now time.Time) {
	p, ok := c.peers[key]
	if !ok {
		p = &peer{peerKey: key, pace: c.config.paceOf(key.purpose), byAddr: map[netip.Addr]*target{}, next: now}
		c.peers[key] = p
	}
	t.peer = p
	p.targets = append(p.targets, t)
	p.byAddr[t.Addr] = t
	if !t.heard {
		p.next = now // a standby is of no use before it has heard its active
	}
}

func (c *Core) sort() {
	c.order = slices.SortedFunc(maps.Values(c.peers), func(a, b *peer) int {
		return cmp.Or(cmp.Compare(a.purpose, b.purpose), cmp.Compare(a.nic, b.nic), a.mac.Compare(b.mac))
	})
}

// nic returns what was heard behind an interface.
func (c *Core) nic(name string) *earshot {
	e, ok := c.nics[name]
	if !ok {
		e = &earshot{machines: map[MAC]machine{}}
		c.nics[name] = e
	}
	return e
}

// NICDown tells that an interface lost its carrier or is gone. When it is back, those behind it must be heard anew before their
// silence means anything: a switch that has just started forwards nothing for a while. That there were third machines isn't
// forgotten.
func (c *Core) NICDown(nic string) {
	for _, p := range c.order {
		if p.nic != nic {
			continue
		}
		p.alarmed, p.sought = false, 0
		for _, t := range p.targets {
			t.heard = t.heard && p.purpose == neighbouring && t.silent // what was found out before stands until it answers
			t.forget()
		}
	}
}

// Deadline returns when Tick is next due, which is never before the last one; zero before the first.
func (c *Core) Deadline() time.Time {
	if c.turned.IsZero() {
		return time.Time{}
	}
	due := c.turned.Add(heartbeat)
	for _, p := range c.order {
		if at := c.deadline(p); at.Before(due) {
			due = at
		}
	}
	if due.Before(c.turned) { // something changed that needs no waiting for
		return c.turned
	}
	return due
}

// Urgent says that something was told which the next Tick must not wait for.
func (c *Core) Urgent() bool { return c.urgent }

// Tick returns what to ask now, and what has become certain. Everything that was received before now must have been told: who
// judges drains its sockets first.
func (c *Core) Tick(now time.Time) ([]Probe, []Event) {
	if !c.due.IsZero() && now.Sub(c.due) > c.config.Late {
		c.void(now)
	}
	c.hearAgain(now)
	var probes []Probe
	for _, p := range c.order {
		if !c.deadline(p).After(now) {
			probes = append(probes, c.turn(p, now)...)
		}
	}
	for _, probe := range probes {
		c.stats.Sent[probe.Kind]++
	}
	events := c.events
	c.events, c.urgent, c.turned = nil, false, now
	c.due = c.Deadline()
	return probes, events
}

// void makes the time since the last turn not count. Nobody asked or listened then, however punctual the answers were; fresh
// questions must go unanswered before anything is certain.
func (c *Core) void(now time.Time) {
	c.stats.Voided++
	missed := now.Sub(c.turned)
	for _, p := range c.order {
		p.sought = 0
		for _, t := range p.targets {
			if !t.since.IsZero() {
				since := t.since.Add(missed)
				if since.After(now) {
					since = now
				}
				t.restart(since)
			}
		}
	}
}

// hearAgain tells of NICs that hear again. The kernel's times decide: frames that were queued while this process was stopped
// leave no gap. Where there is one all the same, the whole machine was paused, or its port was cut; and a stopped process behind
// whose NIC nobody but those who answer it is heard is told for nothing, which does no harm: it asks the wire. (What a long stop
// means for addresses that are held is up to their lifetimes.)
func (c *Core) hearAgain(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(c.nics)) {
		if e := c.nics[name]; e.again {
			e.again = false
			c.events = append(c.events, Event{Kind: HeardAgain, NIC: name, At: now})
		}
	}
}

// Withdraw takes verdicts back that came too late to be acted on: the target has to fall silent again.
func (c *Core) Withdraw(events []Event) {
	for _, event := range events {
		if t, ok := c.guards[event.Addr]; ok && event.Kind == Silent && t.silent {
			t.silent = false
			t.forget()
			c.past.withdraw(event.Addr)
		}
	}
}

// Stats returns the counts.
func (c *Core) Stats() Stats {
	stats := c.stats
	stats.Sent, stats.Unanswered = maps.Clone(stats.Sent), maps.Clone(stats.Unanswered)
	for _, p := range c.order {
		if p.purpose == neighbouring {
			stats.Neighbours += len(p.targets)
			continue
		}
		stats.Peers++
		stats.Addresses += len(p.targets)
	}
	stats.SilentNeighbours = len(c.SilentNeighbours())
	return stats
}

// SilentNeighbours returns the nodes among the neighbours that no longer answer, in order.
func (c *Core) SilentNeighbours() []string {
	var silent []string
	for _, p := range c.order {
		for _, t := range p.targets {
			if p.purpose == neighbouring && t.silent {
				silent = append(silent, t.node)
			}
		}
	}
	slices.Sort(silent)
	return slices.Compact(silent)
}

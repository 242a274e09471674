package liveness

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// enough is how many questions must be unanswered before silence is certain, however long it lasted.
const enough = 3

// Core decides. See New.
type Core struct {
	config Config
	peers  map[peerKey]*peer
	byAddr map[netip.Addr]*target
	nics   map[string]*earshot
	past   map[netip.Addr]takeovers
	due    time.Time
	events []Event
	stats  Stats
}

type peerKey struct {
	nic string
	mac MAC
}

// peer is a node that answers for some targets behind one NIC.
type peer struct {
	key     peerKey
	targets []*target
	cursor  int
	next    time.Time
	// alarmed: an answer is overdue, and all its addresses are asked for.
	alarmed bool
	attempt int
	delays  delays
	// echoes: it has answered an echo. Where a node answers only neighbour probes (a host that drops echo), these are asked.
	echoes, answers bool
}

// target is a Target with what is known of it.
type target struct {
	Target
	peer  *peer
	heard bool
	// asked is when the last question was sent, since when the first of those that are unanswered, unanswered their number.
	asked, since time.Time
	unanswered   int
	silent       bool
	begun        time.Time
}

// New returns a core without targets.
func New(config Config) *Core {
	return &Core{
		config: config, peers: map[peerKey]*peer{}, byAddr: map[netip.Addr]*target{},
		nics: map[string]*earshot{}, past: map[netip.Addr]takeovers{},
	}
}

// Stats returns the counts.
func (c *Core) Stats() Stats { return c.stats }

// SetTargets replaces the targets. What is known of those that stay is kept; another node, interface or purpose is a new target.
func (c *Core) SetTargets(targets []Target, now time.Time) {
	known := c.byAddr
	c.byAddr = map[netip.Addr]*target{}
	for _, p := range c.peers {
		p.targets = p.targets[:0]
	}
	for _, wanted := range targets {
		t, ok := known[wanted.Addr]
		if !ok || t.NIC != wanted.NIC || t.MAC != wanted.MAC || t.Chase != wanted.Chase {
			t = &target{begun: now}
		}
		t.Target = wanted
		key := peerKey{wanted.NIC, wanted.MAC}
		p, ok := c.peers[key]
		if !ok {
			p = &peer{key: key, next: now}
			c.peers[key] = p
		}
		t.peer = p
		p.targets = append(p.targets, t)
		c.byAddr[wanted.Addr] = t
		if !t.heard && !t.Chase {
			p.next = now // a standby is of no use before it has heard its active
		}
	}
	for key, p := range c.peers {
		if len(p.targets) == 0 {
			delete(c.peers, key)
			continue
		}
		slices.SortFunc(p.targets, func(a, b *target) int { return a.Addr.Compare(b.Addr) })
	}
}

// Answer tells that from answered for addr at a time: an echo reply, or a unicast answer to a neighbour probe.
func (c *Core) Answer(nic string, addr netip.Addr, from MAC, kind Kind, at time.Time) {
	c.Frame(nic, netip.Addr{}, from, at)
	t, ok := c.byAddr[addr]
	if !ok || t.NIC != nic || t.MAC != from {
		return
	}
	t.peer.answers, t.peer.echoes = true, t.peer.echoes || kind == Echo
	if !t.asked.IsZero() && !at.Before(t.asked) {
		t.peer.delays.add(at.Sub(t.asked))
	}
	if t.since.IsZero() || !at.Before(t.since) {
		t.since, t.unanswered = time.Time{}, 0
	}
	switch {
	case t.Chase:
		c.events = append(c.events, Event{Kind: Returned, Addr: addr, MAC: from})
	case !t.heard:
		t.heard = true
		c.events = append(c.events, Event{Kind: Heard, Addr: addr, MAC: from})
	}
}

// Frame tells of any frame of another machine: it shows that the NIC works. addr is an address that it speaks for, where known.
// Should nobody have been heard for a while, those who were silent meanwhile get a fresh start.
func (c *Core) Frame(nic string, addr netip.Addr, from MAC, at time.Time) {
	e, ok := c.nics[nic]
	if !ok {
		e = &earshot{machines: map[MAC]machine{}}
		c.nics[nic] = e
	}
	if deaf := e.hear(addr, from, at); deaf > c.config.Proof {
		for _, p := range c.peers {
			if p.key.nic == nic {
				p.restart(at)
			}
		}
	}
}

// NICDown tells that an interface lost its carrier or is gone.
func (c *Core) NICDown(nic string) { delete(c.nics, nic) }

// Deadline returns when Tick is next due; zero without targets.
func (c *Core) Deadline() time.Time {
	var due time.Time
	for _, p := range c.peers {
		if at := p.deadline(c.config); due.IsZero() || at.Before(due) {
			due = at
		}
	}
	c.due = due
	return due
}

// Tick returns what to ask now, and what has become certain. Everything that was received before now must have been told: who
// judges drains its sockets first.
func (c *Core) Tick(now time.Time) ([]Probe, []Event) {
	if !c.due.IsZero() && now.Sub(c.due) > c.config.Late {
		c.stats.Voided++
		for _, p := range c.peers {
			p.restart(time.Time{})
		}
	}
	var probes []Probe
	for _, key := range slices.SortedFunc(maps.Keys(c.peers), func(a, b peerKey) int {
		return cmp.Or(cmp.Compare(a.nic, b.nic), slices.Compare(a.mac[:], b.mac[:]))
	}) {
		p := c.peers[key]
		if p.deadline(c.config).After(now) {
			continue
		}
		probes = append(probes, c.turn(p, now)...)
	}
	events := c.events
	c.events = nil
	c.stats.Sent += uint64(len(probes))
	return probes, events
}

// Suspicious says whether Tick at that time would find a silence: whoever drains sockets does it then.
func (c *Core) Suspicious(now time.Time) bool {
	for _, t := range c.byAddr {
		if c.isSilent(t, now) {
			return true
		}
	}
	return false
}

// turn is a peer's turn.
func (c *Core) turn(p *peer, now time.Time) []Probe {
	overdue := p.overdue(c.config, now)
	if overdue != nil && !p.alarmed {
		p.alarmed, p.attempt = true, 0
		// Where nothing at all came from the node since the question that is overdue, the others are silent since then too.
		if c.nics[p.key.nic].lastOf(p.key.mac).Before(overdue.since) {
			for _, t := range p.targets {
				if t.since.IsZero() && !t.Chase {
					t.since = overdue.since
				}
			}
		}
	}
	for _, t := range p.targets {
		if !c.isSilent(t, now) {
			continue
		}
		if !c.proven(t, now) {
			c.stats.Unproven++
			continue
		}
		t.silent = true
		c.past[t.Addr] = c.past[t.Addr].add(now)
		c.events = append(c.events, Event{Kind: Silent, Addr: t.Addr, MAC: t.MAC, Since: t.since, Probes: t.unanswered})
	}
	if p.alarmed && overdue == nil && !p.waiting() {
		p.alarmed = false
	}
	return c.ask(p, now)
}

// isSilent says whether a target has been silent for long enough, whoever's fault that is.
func (c *Core) isSilent(t *target, now time.Time) bool {
	if t.Chase || t.silent || !t.heard || t.since.IsZero() || t.unanswered < enough {
		return false
	}
	needed := c.config.Silence + t.peer.delays.stretch(c.config.Silence)
	needed = needed<<c.past[t.Addr].recent(now) + time.Duration(t.Rank)*c.config.RankDelay
	if !c.nics[t.NIC].third(t.MAC) {
		needed = max(needed, c.config.Alone)
	}
	return now.Sub(t.since) >= needed
}

// proven says whether our own NIC works: a third machine was heard just now. Where there never was one, two nodes are alone
// and the longer silence has decided.
func (c *Core) proven(t *target, now time.Time) bool {
	e := c.nics[t.NIC]
	return e != nil && (!e.third(t.MAC) || e.heardOther(t.MAC, now.Add(-c.config.Proof)))
}

// ask returns a peer's questions of this turn.
func (c *Core) ask(p *peer, now time.Time) []Probe {
	var probes []Probe
	if now.Before(p.next) && !p.alarmed {
		return nil
	}
	switch {
	case p.alarmed:
		p.next = now.Add(c.config.Insist)
		p.attempt++
		for _, t := range p.targets {
			if t.silent || t.Chase {
				continue
			}
			probes = append(probes, t.ask(Echo, now))
			if p.attempt > 1 {
				probes = append(probes, Probe{Neighbour, t.NIC, t.Addr, t.MAC})
			}
			c.stats.Unanswered++
		}
		probes = append(probes, c.witnesses(p, now)...)
	default:
		p.next = now.Add(c.config.Every)
		n := int((time.Duration(len(p.targets))*c.config.Every + c.config.Round - 1) / c.config.Round)
		for range n {
			p.cursor = (p.cursor + 1) % len(p.targets)
			if t := p.targets[p.cursor]; !t.silent && !t.Chase {
				probes = append(probes, t.ask(p.usual(), now))
			}
		}
		for _, t := range p.targets { // who was never heard may not answer echo at all
			if !t.heard && !t.silent && !t.Chase && now.Sub(t.asked) >= c.config.Every/2 {
				probes = append(probes, t.ask(Echo, now), Probe{Neighbour, t.NIC, t.Addr, t.MAC})
			}
		}
	}
	for _, t := range p.targets {
		pace := c.config.ChaseEvery
		if now.Sub(t.begun) > c.config.ChaseFor {
			pace = time.Second
		}
		if t.Chase && now.Sub(t.asked) >= pace {
			probes = append(probes, t.ask(Echo, now))
		}
	}
	return probes
}

// witnesses asks a few other machines for a sign of life, as long as our own NIC is in doubt.
func (c *Core) witnesses(p *peer, now time.Time) []Probe {
	e := c.nics[p.key.nic]
	if e == nil || e.heardOther(p.key.mac, now.Add(-c.config.Proof/2)) {
		return nil
	}
	var probes []Probe
	for _, w := range e.witnesses(p.key.mac) {
		probes = append(probes, Probe{Neighbour, p.key.nic, w.addr, w.mac})
	}
	return probes
}

// usual is how the node is asked while all is well.
func (p *peer) usual() Kind {
	if p.answers && !p.echoes {
		return Neighbour
	}
	return Echo
}

func (t *target) ask(kind Kind, now time.Time) Probe {
	t.asked = now
	if t.since.IsZero() {
		t.since = now
	}
	t.unanswered++
	return Probe{kind, t.NIC, t.Addr, t.MAC}
}

func (p *peer) deadline(config Config) time.Time {
	due := p.next
	if !p.alarmed {
		patience := config.Patience + p.delays.stretch(config.Patience)
		for _, t := range p.targets {
			if !t.since.IsZero() && t.heard && !t.silent && !t.Chase {
				if at := t.since.Add(patience); at.Before(due) {
					due = at
				}
			}
		}
	}
	return due
}

// overdue returns the target whose answer has been awaited for longest, if for too long.
func (p *peer) overdue(config Config, now time.Time) *target {
	patience := config.Patience + p.delays.stretch(config.Patience)
	var longest *target
	for _, t := range p.targets {
		if t.heard && !t.silent && !t.Chase && !t.since.IsZero() && now.Sub(t.since) >= patience && (longest == nil || t.since.Before(longest.since)) {
			longest = t
		}
	}
	return longest
}

func (p *peer) waiting() bool {
	return slices.ContainsFunc(p.targets, func(t *target) bool { return t.heard && !t.silent && !t.Chase && !t.since.IsZero() })
}

// restart forgets what was missed so far: from is when the wait begins anew, zero with the next question.
func (p *peer) restart(from time.Time) {
	for _, t := range p.targets {
		if !t.since.IsZero() {
			t.since, t.unanswered = from, 0
		}
	}
	if from.IsZero() {
		p.alarmed = false
	}
}

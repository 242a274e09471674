package liveness

import (
	"net/netip"
	"time"
)

// claimMemory: who claimed an address that recently before it fell silent is looked at first. Those who take over claim within
// the wait of the next rank, those who are told to by the API claim before the old owner lets go.
const claimMemory = 10 * time.Second

// Answer tells that from answered for addr at a time, in a frame to us alone: an echo reply, or an answer to a neighbour probe.
func (c *Core) Answer(nic string, addr netip.Addr, from MAC, kind Kind, at time.Time) {
	c.sight(nic, Sighting{From: from, At: at}, true)
	c.past.answered(nic, from, addr, at)
	for _, of := range []purpose{guarding, chasing, neighbouring} {
		p, ok := c.peers[peerKey{nic, from, of}]
		if !ok {
			continue
		}
		if of == neighbouring { // the node lives, whichever of its addresses it was asked for
			c.alive(p, at)
		}
		if t, ok := p.byAddr[addr]; ok {
			c.answered(p, t, kind, at)
		}
	}
}

// answered notes the answer of a target.
func (c *Core) answered(p *peer, t *target, kind Kind, at time.Time) {
	if t.unanswered == 1 && !at.Before(t.asked) { // otherwise it isn't known which question was answered
		p.delays.add(at.Sub(t.asked))
	}
	switch {
	case kind == Echo:
		p.dumb, t.echoed = 0, time.Time{}
	case at.Sub(t.solicited) > p.patience():
		// What the wire was asked for after a pause of ours, in which echo was lost.
	case !t.echoed.IsZero() && at.Sub(t.echoed) >= p.patience():
		t.echoed = time.Time{}
		if p.dumb++; p.dumb == dumbAfter { // its silence to echo meant nothing
			p.turns = 0
			for _, other := range p.targets {
				other.forget()
			}
		}
	}
	if t.since.IsZero() || !at.Before(t.since) {
		if t.unanswered > 1 {
			c.stats.Unanswered[t.kind] += uint64(t.unanswered - 1)
		}
		t.forget()
	}
	switch {
	case p.purpose == chasing:
		c.events = append(c.events, Event{Kind: Returned, NIC: t.NIC, Addr: t.Addr, MAC: t.MAC, At: at})
		c.call(p, at)
		// Who answers just after all were asked may have missed the claim that this leads to.
		p.calling = true
		if again := p.called.Add(callAgain); again.Before(p.next) {
			p.next = again
		}
		c.urgent = true
	case !t.heard || t.silent:
		t.heard, t.silent = true, false
		c.urgent = true
		if p.purpose == guarding && !t.shadow {
			c.events = append(c.events, Event{Kind: Heard, NIC: t.NIC, Addr: t.Addr, MAC: t.MAC, At: at})
		}
	}
}

// alive notes that a neighbour lives.
func (c *Core) alive(p *peer, at time.Time) {
	for _, t := range p.targets {
		if t.since.IsZero() || !at.Before(t.since) {
			t.forget()
		}
		c.urgent = c.urgent || t.silent
		t.silent = false
	}
}

// Frame tells of any frame of another machine: it shows that the NIC works. Should nobody have been heard for a while, those who
// were silent meanwhile get a fresh start.
func (c *Core) Frame(nic string, s Sighting) {
	c.sight(nic, s, false)
	if p, ok := c.peers[peerKey{nic, s.From, chasing}]; ok {
		c.call(p, s.At)
	}
	if p, ok := c.peers[peerKey{nic, s.From, neighbouring}]; ok && s.Own {
		c.alive(p, s.At)
	}
}

// sight notes a frame.
func (c *Core) sight(nic string, s Sighting, answer bool) {
	e := c.nic(nic)
	last := e.last
	e.hear(s, answer)
	c.urgent = c.urgent || e.again
	if !s.At.After(last) {
		return
	}
	for _, p := range c.order {
		if p.nic != nic || !p.alarmed { // who isn't looked for isn't asked so often that a pause means anything
			continue
		}
		quiet := s.At.Sub(last)
		if p.since.After(last) {
			quiet = s.At.Sub(p.since)
		}
		if quiet > 2*p.pausing+p.delays.stretch(p.silence) {
			p.resumed = s.At
		}
		if quiet > p.proof() {
			p.sought = 0
			for _, t := range p.targets {
				if !t.since.IsZero() {
					t.restart(s.At)
				}
			}
		}
	}
}

// call has a node that was chased asked for everything at once, as it gives signs of life.
func (c *Core) call(p *peer, at time.Time) {
	if at.Sub(p.called) < callAgain {
		return
	}
	p.called, p.calling, p.next = at, true, at
	c.urgent = true
}

// Claim tells that a machine said that an address is its own, in a frame from the very MAC that it speaks of. Somebody else may
// have taken over what is guarded here, or have been told to: while it answers, there is nothing to take over, though the API
// may not say so for a long time. Its silence counts as that of the active.
func (c *Core) Claim(nic string, addr netip.Addr, from MAC, at time.Time) {
	t, ok := c.guards[addr]
	if !ok || t.NIC != nic || t.MAC == from || !from.IsStation() {
		return
	}
	t.claimant, t.claimed = from, at
	c.succeed(t, at)
}

// succeed begins to watch who claimed a target's address, if its silence is in question.
func (c *Core) succeed(t *target, now time.Time) {
	if t.claimed.IsZero() || t.since.IsZero() || t.since.Sub(t.claimed) > claimMemory {
		return
	}
	if t.successor != nil {
		if t.successor.MAC == t.claimant {
			return
		}
		c.leave(t.successor)
	}
	t.successor = &target{Target: Target{Addr: t.Addr, NIC: t.NIC, MAC: t.claimant}, shadow: true, begun: now}
	c.join(peerKey{t.NIC, t.claimant, guarding}, t.successor, now)
	c.sort()
	c.urgent = true
}

// leave removes a successor from its peer.
func (c *Core) leave(t *target) {
	p := t.peer
	delete(p.byAddr, t.Addr)
	for i, one := range p.targets {
		if one == t {
			p.targets = append(p.targets[:i:i], p.targets[i+1:]...)
			break
		}
	}
	if len(p.targets) == 0 {
		delete(c.peers, p.peerKey)
		c.sort()
	}
}

// Unsent tells that a question of the last turn couldn't be sent: what it is about can't be silent.
func (c *Core) Unsent(probe Probe) {
	for _, of := range []purpose{guarding, neighbouring} {
		p, ok := c.peers[peerKey{probe.NIC, probe.MAC, of}]
		if !ok {
			continue
		}
		t, ok := p.byAddr[probe.Addr]
		switch {
		case !ok:
		case t.kind == probe.Kind:
			t.forget()
		case probe.Kind == Solicit:
			t.sought, p.sought = max(t.sought-1, 0), max(p.sought-1, 0)
		}
	}
}

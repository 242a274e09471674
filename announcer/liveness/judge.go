package liveness

import (
	"slices"
	"time"
)

// turn is a peer's turn.
func (c *Core) turn(p *peer, now time.Time) []Probe {
	p.turned = now
	if p.purpose == chasing {
		return c.chase(p, now)
	}
	c.raise(p, now)
	c.judge(p, now)
	return c.ask(p, now)
}

// raise raises and ends the alarm.
func (c *Core) raise(p *peer, now time.Time) {
	if !slices.ContainsFunc(p.targets, func(t *target) bool { return t.overdue(now) }) {
		p.alarmed = false
		return
	}
	for _, t := range p.targets {
		if t.watched() {
			c.succeed(t, now)
		}
	}
	if !p.alarmed {
		p.alarm(now)
		p.mute = time.Time{}
	}
	if !p.mute.IsZero() && c.quietSince(p, p.mute) {
		return
	}
	p.mute = c.muteSince(p, now)
	if p.mute.IsZero() {
		return
	}
	p.alarm(now) // anew, where it was raised for some of them
	for _, t := range p.targets {
		if t.watched() && (t.since.IsZero() || t.since.After(p.mute)) {
			t.since = p.mute
		}
	}
}

// alarm has all of a node's targets asked for.
func (p *peer) alarm(now time.Time) {
	p.alarmed, p.attempt, p.since, p.next, p.pausing = true, 0, now, now, p.insist
}

// muteSince returns since when nothing at all came from a node, if an answer of it is overdue since then: all of its targets are
// silent since then, not only who was asked. Zero: it speaks.
func (c *Core) muteSince(p *peer, now time.Time) time.Time {
	var since time.Time
	for _, t := range p.targets {
		if t.overdue(now) && c.quietSince(p, t.since) && (since.IsZero() || t.since.Before(since)) {
			since = t.since
		}
	}
	if last := c.nic(p.nic).lastOf(p.mac); !since.IsZero() && last.After(since) {
		since = last
	}
	return since
}

// judge finds out who is silent.
func (c *Core) judge(p *peer, now time.Time) {
	if !p.alarmed {
		return
	}
	w := c.nic(p.nic).others(p.mac)
	for _, t := range p.targets {
		at, ok := c.silentAt(t, w, now)
		switch {
		case !ok || at.After(now):
		case w.third && (w.heard.Before(now.Add(-p.proof())) || t.unanswered >= enough && w.heard.Before(t.covered)):
			if !t.unproven {
				t.unproven = true
				c.stats.Unproven++
			}
		default:
			c.silence(p, t, now)
		}
	}
}

// silence tells that a target is silent.
func (c *Core) silence(p *peer, t *target, now time.Time) {
	if p.purpose == guarding && !t.shadow {
		c.past.add(verdict{nic: t.NIC, addr: t.Addr, mac: t.MAC, at: now})
		c.events = append(c.events, Event{Kind: Silent, NIC: t.NIC, Addr: t.Addr, MAC: t.MAC, Alive: !c.quietSince(p, t.since), At: now, Since: t.since, Probes: t.unanswered})
	}
	if main, ok := c.guards[t.Addr]; ok && t.shadow {
		main.peer.next = now // nothing stands in for it any more
	}
	c.stats.Unanswered[t.kind] += uint64(t.unanswered)
	t.silent = true
	t.forget()
}

// silentAt returns when a target will have been silent for long enough, should it never answer, and the NIC prove to work. It is
// false for who wasn't asked often enough, or can't fall silent. w is what is known of third machines.
func (c *Core) silentAt(t *target, w witness, now time.Time) (time.Time, bool) {
	if !t.watched() || t.since.IsZero() || !c.askedEnough(t) {
		return time.Time{}, false
	}
	p := t.peer
	needed := p.silence + p.delays.stretch(p.silence)
	needed = needed<<c.past.backOff(t.Addr, now) + time.Duration(t.Rank)*c.config.RankDelay
	// Where nobody else is known, nothing tells which of the two is cut off. And where others are heard but no longer answer,
	// our own frames may be what gets lost.
	if !w.third || w.answering && w.answered.Before(now.Add(-p.proof())) {
		needed = max(needed, c.config.Alone)
	}
	at := t.since.Add(needed)
	if again := p.resumed.Add(p.silence / 2); again.After(at) {
		at = again
	}
	return at, true
}

// askedEnough says whether enough questions went unanswered. Solicitations are too few for each address to be asked for by them
// often, or at all where the node drops echo; where nothing at all came from the node since, those for its other addresses count too.
func (c *Core) askedEnough(t *target) bool {
	if t.unanswered >= enough && t.sought >= soughtEnough {
		return true
	}
	p := t.peer
	switch {
	case p.sought == 0 || c.heardSince(p, p.soughtFrom):
		return false
	case p.isDumb(): // only solicitations are questions
		return p.sought >= 2*enough
	}
	return t.unanswered >= enough && p.sought >= soughtEnough
}

// heardSince says whether anything came from a node since a time.
func (c *Core) heardSince(p *peer, since time.Time) bool {
	return !c.nic(p.nic).lastOf(p.mac).Before(since)
}

// quietSince says whether a node sent nothing since a time but what was under way then.
func (c *Core) quietSince(p *peer, since time.Time) bool {
	return c.nic(p.nic).lastOf(p.mac).Before(since.Add(p.delays.stretch(p.pace.patience)))
}

// Suspicious says whether Tick at that time would find a silence: whoever drains sockets does it then.
func (c *Core) Suspicious(now time.Time) bool {
	for _, p := range c.order {
		if !p.alarmed {
			continue
		}
		w := c.nic(p.nic).others(p.mac)
		for _, t := range p.targets {
			if at, ok := c.silentAt(t, w, now); ok && !at.After(now) {
				return true
			}
		}
	}
	return false
}

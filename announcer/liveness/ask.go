package liveness

import (
	"time"
)

// ask returns a peer's questions of this turn.
func (c *Core) ask(p *peer, now time.Time) []Probe {
	if now.Before(p.next) {
		return nil
	}
	every := c.every(p)
	var probes []Probe
	if p.alarmed {
		p.pausing = p.insist
		if now.Sub(p.since) > patient {
			p.pausing = max(p.insist, every)
		}
		p.next = now.Add(p.pausing)
		probes = c.insist(p, now)
		if now.Sub(p.rounded) < every {
			return probes
		}
	} else {
		p.next = now.Add(every)
	}
	p.rounded = now
	return append(append(probes, c.usual(p, now)...), c.slowly(p, now)...)
}

// insist asks for those whose answers are awaited, at first for all: they fall silent together.
func (c *Core) insist(p *peer, now time.Time) []Probe {
	p.attempt++
	var waiting []*target
	for _, t := range p.targets {
		if t.watched() && (p.attempt == 1 || !t.since.IsZero()) {
			waiting = append(waiting, t)
		}
	}
	var probes []Probe
	e := c.nic(p.nic)
	probes = append(probes, c.witnesses(p, now)...)
	for range min(len(waiting), burst) {
		p.cursor++
		t := waiting[p.cursor%len(waiting)]
		if !p.isDumb() {
			probes = append(probes, c.query(t, Echo, now))
		} else if e.requests.take(now, solicitRate, solicitBurst) {
			probes = append(probes, c.query(t, Solicit, now))
		}
	}
	if p.isDumb() {
		return probes
	}
	return append(probes, c.seek(p, waiting, now)...)
}

// seek solicits a few of those that are awaited, once half of the wait is over: most alarms are false, and there is only so much
// to spend.
func (c *Core) seek(p *peer, waiting []*target, now time.Time) []Probe {
	if p.sought >= 2*soughtEnough && !c.heardSince(p, p.soughtFrom) {
		return nil // it is known by now that the node doesn't answer these either
	}
	var probes []Probe
	for range min(len(waiting), soughtEnough) {
		p.seeking++
		t := waiting[p.seeking%len(waiting)]
		if now.Sub(t.since) >= p.silence/2 && t.sought < 2*soughtEnough && c.nic(p.nic).requests.take(now, solicitRate, solicitBurst) {
			probes = append(probes, c.probe(t, Solicit, now))
		}
	}
	return probes
}

// usual asks for the next of a peer's targets.
func (c *Core) usual(p *peer, now time.Time) []Probe {
	n := 1
	if p.purpose == guarding && !p.isDumb() {
		n = c.config.perTurn(len(p.targets))
	}
	var probes []Probe
	for range p.targets {
		if len(probes) >= n {
			break
		}
		p.cursor++
		t := p.targets[p.cursor%len(p.targets)]
		if !t.watched() || t.asked.Equal(now) {
			continue
		}
		probes = append(probes, c.query(t, p.usual(), now))
		if p.isDumb() {
			if p.turns++; p.turns%dumbRetry == 0 || p.turns < dumbRetry && p.turns&(p.turns-1) == 0 {
				probes = append(probes, c.probe(t, Echo, now))
				break
			}
		}
	}
	return probes
}

// slowly asks for those whose silence doesn't count: who was never heard (it may drop echo), who is silent, who has a successor.
func (c *Core) slowly(p *peer, now time.Time) []Probe {
	var probes []Probe
	for _, t := range p.targets {
		wait := slow
		if !t.heard && now.Sub(t.begun) < greeting {
			wait = 0
		}
		if t.watched() || now.Sub(t.asked) < wait || len(probes) >= burst {
			continue
		}
		again := t.unanswered > 0
		probes = append(probes, c.query(t, Echo, now))
		if again && c.nic(p.nic).greetings.take(now, greetRate, greetBurst) {
			probes = append(probes, c.probe(t, Solicit, now))
		}
		if t.successor != nil && !t.successor.heard && now.Sub(t.successor.begun) > greeting {
			c.leave(t.successor) // an empty claim
			t.successor, t.claimed, p.next = nil, time.Time{}, now
		}
	}
	return probes
}

// witnesses asks a few other machines for a sign of life, unless one has answered since the turn before.
func (c *Core) witnesses(p *peer, now time.Time) []Probe {
	e := c.nic(p.nic)
	w := e.others(p.mac)
	if w.answered.After(now.Add(-p.pausing)) || e.polled.Equal(now) {
		return nil
	}
	e.polled = now
	var probes []Probe
	for _, other := range c.order {
		if len(probes) >= maxWitnesses {
			break
		}
		if other.purpose == chasing || other.nic != p.nic || other.mac == p.mac || other.isDumb() {
			continue
		}
		for _, t := range other.targets {
			if t.watched() && t.since.IsZero() {
				probes = append(probes, c.probe(t, Echo, now))
				break
			}
		}
	}
	for _, mac := range e.witnesses(p.mac) {
		probe := Probe{Echo, p.nic, e.machines[mac].addr, mac}
		probes = append(probes, probe)
		if e.witnessed.take(now, witnessRate, witnessBurst) {
			probe.Kind = Solicit
			probes = append(probes, probe)
		}
	}
	return probes
}

// chase asks a node that addresses were taken over from, one of them at a time. When it gives a sign of life it asks for all, and
// again after callAgain for as long as it answers for any.
func (c *Core) chase(p *peer, now time.Time) []Probe {
	if now.Before(p.next) {
		return nil
	}
	begun := p.targets[0].begun
	for _, t := range p.targets {
		if t.begun.After(begun) {
			begun = t.begun
		}
	}
	pace := c.config.ChaseEvery
	if now.Sub(begun) > c.config.ChaseFor {
		pace = chaseSlow
	}
	p.next = now.Add(pace)
	n := 1
	if p.calling {
		n, p.calling, p.called = min(len(p.targets), burst), false, now
	}
	var probes []Probe
	for range n {
		p.cursor++
		t := p.targets[p.cursor%len(p.targets)]
		probes = append(probes, c.probe(t, Echo, now))
	}
	return probes
}

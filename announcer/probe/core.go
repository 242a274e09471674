package probe

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// suspectMax bounds the machines that are asked for control addresses: a
	// flood of invented MACs must not become a flood of ours.
	suspectMax = 4
	// controlRounds is how often a suspect is asked, against loss.
	controlRounds = 2
)

// action is one frame to send: a probe for addr, to everybody or to one.
type action struct {
	addr netip.Addr
	to   MAC // zero: everybody
	// suspect is who the question is about; zero for the address itself.
	suspect MAC
}

// suspect is a machine that spoke for the address and may be its owner or a
// proxy.
type suspect struct {
	heard Heard
	// questions are still to be sent; rounds counts the sets of them.
	questions []action
	rounds    int
	// next is when the next round is due, deadline when the suspect is taken
	// for an owner; zero before the first question was sent.
	next, deadline time.Time
	answered       map[netip.Addr]bool
}

// core decides about one address. It is a function of what it is told and of
// the time, without locks or sends.
type core struct {
	addr     netip.Addr
	timing   Timing
	controls []netip.Addr
	ignore   func(MAC) bool
	isProxy  func(MAC) bool
	// random returns a duration in [0, n); n is above 0.
	random func(n time.Duration) time.Duration

	// watching is the late phase: no more probes, until due.
	watching bool
	started  time.Time
	sent     int
	// due is the time of the next probe, or of the verdict after the last.
	due      time.Time
	suspects map[MAC]*suspect
	conflict *Heard
	proxies  []MAC
	ignored  MAC
}

func (c *core) spread(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + c.random(hi-lo)
}

// begin starts probing.
func (c *core) begin(now time.Time) {
	c.started = now
	c.due = now.Add(c.spread(0, c.timing.Delay))
}

// watch starts the late phase. What was heard since the verdict still counts.
func (c *core) watch(now time.Time) {
	c.watching = true
	c.started = now
	c.due = now.Add(c.timing.Late)
}

// hear takes one frame; it returns whether it may have changed what to do.
func (c *core) hear(h Heard) bool {
	if c.conflict != nil {
		return false
	}
	if h.Addr != c.addr {
		return c.hearControl(h)
	}
	switch {
	case c.ignore(h.MAC):
		c.ignored = h.MAC
		return false
	case h.Kind == KindProbe && c.watching:
		// We hold the address now; the kernel answers who probes for it.
		return false
	case slices.Contains(c.proxies, h.MAC):
		return false
	case c.isProxy(h.MAC):
		c.proxies = append(c.proxies, h.MAC)
		return true
	case !c.mayBeProxied(h) || len(c.controls) == 0:
		c.conflict = &h
		return true
	}
	if _, known := c.suspects[h.MAC]; known {
		return false
	}
	if len(c.suspects) == suspectMax {
		c.conflict = &h
		return true
	}
	s := &suspect{heard: h, answered: map[netip.Addr]bool{}}
	s.ask(c.controls)
	c.suspects[h.MAC] = s
	return true
}

// mayBeProxied reports whether h is of the forms in which a proxy answers. It
// neither probes for the address nor uses it as a source. An ARP announcement
// is no answer; of an IPv6 advertisement to all nodes that can't be said.
func (c *core) mayBeProxied(h Heard) bool {
	return h.Kind == KindAnswer || h.Kind == KindClaim && h.Addr.Is6()
}

// hearControl takes a frame about a control address.
func (c *core) hearControl(h Heard) bool {
	s, ok := c.suspects[h.MAC]
	if !ok || !slices.Contains(c.controls, h.Addr) || !c.mayBeProxied(h) {
		return false
	}
	s.answered[h.Addr] = true
	if len(s.answered) < len(c.controls) {
		return false
	}
	delete(c.suspects, h.MAC)
	c.proxies = append(c.proxies, h.MAC)
	return true
}

// ask plans one round of questions for the control addresses: to the suspect,
// since Linux's proxies answer a broadcast up to 0.8 s late but a unicast at
// once, and to everybody, since some proxies pick up only broadcasts.
func (s *suspect) ask(controls []netip.Addr) {
	for _, a := range controls {
		s.questions = append(s.questions,
			action{addr: a, to: s.heard.MAC, suspect: s.heard.MAC},
			action{addr: a, suspect: s.heard.MAC})
	}
	s.rounds++
}

// step returns the frame to send now, or none and when to step again, or that
// the verdict is reached. Everything heard until now must have been told.
func (c *core) step(now time.Time) (act *action, next time.Time, done bool) {
	for _, mac := range c.suspectOrder() {
		s := c.suspects[mac]
		if !s.deadline.IsZero() && !now.Before(s.deadline) && c.conflict == nil {
			c.conflict = &s.heard
		}
	}
	if c.conflict != nil {
		return nil, time.Time{}, true
	}
	probing := !c.watching && c.sent < c.timing.Count
	if probing && !now.Before(c.due) {
		return &action{addr: c.addr}, time.Time{}, false
	}
	for _, mac := range c.suspectOrder() {
		s := c.suspects[mac]
		if len(s.questions) == 0 && s.rounds < controlRounds && !now.Before(s.next) {
			s.ask(c.controls)
		}
		if len(s.questions) > 0 {
			return &s.questions[0], time.Time{}, false
		}
	}
	if len(c.suspects) == 0 && !probing && !now.Before(c.due) {
		return nil, time.Time{}, true
	}
	return nil, c.wake(now), false
}

// wake returns the earliest time after now at which something is due.
func (c *core) wake(now time.Time) time.Time {
	var at time.Time
	consider := func(t time.Time) {
		if t.After(now) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	consider(c.due)
	for _, s := range c.suspects {
		consider(s.deadline)
		if s.rounds < controlRounds {
			consider(s.next)
		}
	}
	return at
}

// did records that an action of step was sent at now. The next probe and the
// verdict count from here, so that a late process doesn't ask too fast or
// listen too short.
func (c *core) did(act *action, now time.Time) {
	if act.suspect.IsZero() {
		c.sent++
		if c.sent < c.timing.Count {
			c.due = now.Add(c.spread(c.timing.IntervalMin, c.timing.IntervalMax))
		} else {
			c.due = now.Add(c.timing.Wait)
		}
		return
	}
	s, ok := c.suspects[act.suspect]
	if !ok || len(s.questions) == 0 {
		return
	}
	s.questions = s.questions[1:]
	if s.deadline.IsZero() {
		s.next = now.Add(c.timing.Control / 3)
		s.deadline = now.Add(c.timing.Control)
	}
}

// suspectOrder returns the suspects in a stable order.
func (c *core) suspectOrder() []MAC {
	order := make([]MAC, 0, len(c.suspects))
	for mac := range c.suspects {
		order = append(order, mac)
	}
	slices.SortFunc(order, MAC.Compare)
	return order
}

// verdict is valid once step is done.
func (c *core) verdict(now time.Time) Verdict {
	v := Verdict{Free: c.conflict == nil, Ignored: c.ignored, Took: now.Sub(c.started)}
	if c.conflict != nil {
		v.MAC, v.Heard = c.conflict.MAC, *c.conflict
	}
	if len(c.proxies) > 0 {
		v.Proxy = c.proxies[0]
	}
	return v
}

package liveness

import (
	"net/netip"
	"time"
)

// purpose is why a machine is asked.
type purpose int

const (
	guarding purpose = iota + 1
	chasing
	neighbouring
)

type peerKey struct {
	nic     string
	mac     MAC
	purpose purpose
}

// peer is a node that is asked for some targets behind one NIC, for one purpose.
type peer struct {
	peerKey
	pace
	targets []*target
	byAddr  map[netip.Addr]*target
	// cursor and seeking rotate through the targets, for echo and for solicitations in an alarm.
	cursor, seeking int
	// next is when it is asked next, turned when it had its last turn, rounded when its targets had their last usual turn.
	next, turned, rounded time.Time
	// alarmed since: an answer is overdue.
	alarmed bool
	since   time.Time
	attempt int
	// mute is since when nothing at all came from the node, if that is so in this alarm.
	mute time.Time
	// pausing is the time to the next turn of the alarm. resumed is when somebody was heard in it after a pause that is no proof
	// of anything, but more than two turns without an answer.
	pausing time.Duration
	resumed time.Time
	delays  delays
	// sought is how many solicitations were sent to it since soughtFrom, when it was last heard before the first of them.
	sought     int
	soughtFrom time.Time
	// dumb counts answers to solicitations of addresses for which echo went unanswered, since the last answer to an echo.
	dumb int
	// turns counts usual questions to a dumb node since it became one.
	turns int
	// called and calling: a chased node gave a sign of life.
	called  time.Time
	calling bool
}

const (
	// enough is how many questions must be unanswered before silence is certain, however long it lasted, and soughtEnough how
	// many of them must be solicitations: that echo is dropped from now on, on all nodes at once, is somebody's new firewall.
	enough, soughtEnough = 3, 2
	// dumbAfter: a node that drops echo is asked by ARP or neighbour solicitation from then on, and by echo with the first question,
	// the second, fourth and so on, at last once in dumbRetry: the sooner it is cleared of that the better.
	dumbAfter, dumbRetry = 4, 16
	// callAgain is the least time between two rounds of questions to a chased node that gives signs of life.
	callAgain = 200 * time.Millisecond
	// slow is the pace for those who were never heard (after having been asked often for greeting) or are silent.
	slow, greeting = time.Second, 2 * time.Second
	// chaseSlow is the pace for a chased node that has been away for long: a split that heals is to end within a second. Switches
	// flood these frames, as nobody has that MAC address.
	chaseSlow = 500 * time.Millisecond
	// patient is how long an alarm lasts before its questions go back to the usual pace: whatever it waits for takes longer.
	patient = 5 * time.Second
)

// target is one address of a peer, with what is known of it.
type target struct {
	Target
	peer  *peer
	node  string // of a neighbour
	begun time.Time
	// heard: it has answered before. silent: it no longer does, and that was told.
	heard, silent bool
	// asked is when the last question that counts was sent, of which kind it was, since when the first of those that are
	// unanswered was, unanswered their number.
	asked, since time.Time
	unanswered   int
	kind         Kind
	// covered is when enough of them had been sent.
	covered time.Time
	// sought is how many of the unanswered questions, those that don't count too, were solicitations.
	sought int
	// echoed is when the first echo was sent that is unanswered, solicited when the last solicitation was.
	echoed, solicited time.Time
	// unproven: a verdict about it was withheld.
	unproven bool
	// claimant claimed the address last. successor is watched in the target's stead; it is a shadow of it.
	claimant  MAC
	claimed   time.Time
	successor *target
	shadow    bool
}

// query returns a question that counts.
func (c *Core) query(t *target, kind Kind, now time.Time) Probe {
	t.asked, t.kind = now, kind
	if t.since.IsZero() {
		t.since = now
	}
	if t.unanswered++; t.unanswered == enough {
		t.covered = now
	}
	if kind == Echo && t.echoed.IsZero() {
		t.echoed = now
	}
	return c.probe(t, kind, now)
}

// probe returns a question that doesn't count by itself.
func (c *Core) probe(t *target, kind Kind, now time.Time) Probe {
	if kind == Solicit {
		t.sought++
		t.solicited = now
		p := t.peer
		if p.sought == 0 || c.heardSince(p, p.soughtFrom) {
			p.sought, p.soughtFrom = 0, now
		}
		p.sought++
	}
	return Probe{kind, t.NIC, t.Addr, t.MAC}
}

// forget forgets the questions that are unanswered.
func (t *target) forget() { t.restart(time.Time{}) }

// restart begins the wait for an answer anew.
func (t *target) restart(at time.Time) {
	t.since, t.unanswered, t.sought, t.unproven = at, 0, 0, false
}

// parked: a successor is watched instead.
func (t *target) parked() bool { return t.successor != nil && !t.successor.silent }

// watched says whether the silence of the target counts.
func (t *target) watched() bool { return t.heard && !t.silent && !t.parked() }

// isDumb says whether the node is known to drop echo.
func (p *peer) isDumb() bool { return p.dumb >= dumbAfter }

// usual is how the node is asked.
func (p *peer) usual() Kind {
	if p.isDumb() {
		return Solicit
	}
	return Echo
}

// patience is how long an answer may take.
func (p *peer) patience() time.Duration { return p.pace.patience + p.delays.stretch(p.pace.patience) }

// proof is how recently somebody else must have been heard for a verdict, and how long nobody may have been heard in an alarm
// before the wait for answers begins anew: two turns, in each of which witnesses are asked too, and the time that answers take.
// It is well below the silence that counts, so that what was heard before our own port was cut proves nothing.
func (p *peer) proof() time.Duration { return 2*p.pausing + p.patience() }

// overdue says whether the target's answer has been awaited for too long.
func (t *target) overdue(now time.Time) bool {
	return t.watched() && !t.since.IsZero() && now.Sub(t.since) >= t.peer.patience()
}

// every is the time between two usual turns of a peer.
func (c *Core) every(p *peer) time.Duration {
	switch {
	case p.purpose == neighbouring && p.isDumb():
		return dumbNeighbourEvery
	case p.purpose == neighbouring:
		return neighbourEvery
	case p.isDumb():
		dumb := 0
		for _, other := range c.order {
			if other.purpose == guarding && other.nic == p.nic && other.isDumb() {
				dumb++
			}
		}
		return max(c.plan.Every, time.Duration(dumb)*dumbEvery)
	}
	return c.plan.Every
}

// deadline is when a peer's next turn is due.
func (c *Core) deadline(p *peer) time.Time {
	due := p.next
	switch {
	case p.purpose == chasing:
	case p.alarmed:
		w := c.nic(p.nic).others(p.mac)
		for _, t := range p.targets {
			if at, ok := c.silentAt(t, w, p.turned); ok && at.After(p.turned) && at.Before(due) {
				due = at
			}
		}
	default:
		patience := p.patience()
		for _, t := range p.targets {
			if t.watched() && !t.since.IsZero() {
				if at := t.since.Add(patience); at.Before(due) {
					due = at
				}
			}
		}
	}
	return due
}

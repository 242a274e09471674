package liveness

import (
	"net/netip"
	"slices"
	"time"
)

// earshot is what was heard behind one NIC: it tells whether the NIC works.
type earshot struct {
	machines map[MAC]machine
	// last is when anybody was heard last, steady since when no second passed without a frame.
	last, steady time.Time
	// again: a silence has just ended.
	again bool
	// polled is when witnesses were asked last.
	polled time.Time
	// requests bounds ARP requests and neighbour solicitations while somebody is looked for, witnessed those to witnesses and
	// greetings those to nodes whose silence doesn't count.
	requests, witnessed, greetings bucket
}

// machine is somebody who was heard.
type machine struct {
	// addr it speaks for, where known, and whether that is its own.
	addr netip.Addr
	own  bool
	// at is when it was heard last, answered when it answered us last.
	at, answered time.Time
}

const (
	// A segment has hundreds of machines; a few that were heard of late are enough to tell that our NIC works.
	maxMachines  = 32
	maxWitnesses = 3
	// thirdMemory is for how long a machine counts as a third party that ought to be heard: a laptop that is gone for good must
	// not keep two nodes from guarding each other. It is counted back from the last frame, not from now: who is deaf forgets
	// nobody.
	thirdMemory = 10 * time.Minute
	// deafness is how long nobody must have been heard for HeardAgain. It is told only after frames had come in without such a
	// pause for steadiness: whoever has a standby is asked by it several times a second, and where nobody stands by, nobody
	// takes over, and pauses are usual on a quiet segment.
	deafness, steadiness = time.Second, 5 * time.Second
)

// hear notes a frame.
func (e *earshot) hear(s Sighting, answer bool) {
	if s.At.After(e.last) {
		switch {
		case e.last.IsZero():
			e.steady = s.At
		case s.At.Sub(e.last) >= deafness:
			e.again = e.again || e.last.Sub(e.steady) >= steadiness
			e.steady = s.At
		}
		e.last = s.At
	}
	m := e.machines[s.From]
	if s.Addr.IsValid() && (s.Own || !m.own) {
		m.addr, m.own = s.Addr, s.Own
	}
	if s.At.After(m.at) {
		m.at = s.At
	}
	if answer && s.At.After(m.answered) {
		m.answered = s.At
	}
	e.machines[s.From] = m
	if len(e.machines) > maxMachines {
		oldest := s.From
		for mac, m := range e.machines {
			if m.at.Before(e.machines[oldest].at) {
				oldest = mac
			}
		}
		delete(e.machines, oldest)
	}
}

// witness says what is known of machines other than that one.
type witness struct {
	// third says that there is one, answering that one has ever answered us.
	third, answering bool
	// heard and answered are when the last of them was heard, and answered.
	heard, answered time.Time
}

func (e *earshot) others(but MAC) witness {
	var w witness
	for mac, m := range e.machines {
		if mac == but || e.last.Sub(m.at) > thirdMemory {
			continue
		}
		w.third, w.answering = true, w.answering || !m.answered.IsZero()
		if m.at.After(w.heard) {
			w.heard = m.at
		}
		if m.answered.After(w.answered) {
			w.answered = m.answered
		}
	}
	return w
}

// lastOf returns when the machine was heard last; zero for never.
func (e *earshot) lastOf(mac MAC) time.Time { return e.machines[mac].at }

// witnesses returns machines that can be asked for a sign of life, those heard last first.
func (e *earshot) witnesses(but MAC) []MAC {
	var some []MAC
	for mac, m := range e.machines {
		if mac != but && m.addr.IsValid() {
			some = append(some, mac)
		}
	}
	slices.SortFunc(some, func(a, b MAC) int {
		if order := e.machines[b].at.Compare(e.machines[a].at); order != 0 {
			return order
		}
		return a.Compare(b)
	})
	return some[:min(len(some), maxWitnesses)]
}

// bucket is a token bucket.
type bucket struct {
	spent time.Duration // as time that it takes to refill
	at    time.Time
}

// take takes one token if there is one.
func (b *bucket) take(now time.Time, rate, burst int) bool {
	token := time.Second / time.Duration(rate)
	b.spent = max(b.spent-max(now.Sub(b.at), 0), 0)
	b.at = now
	if b.spent+token > time.Duration(burst)*token {
		return false
	}
	b.spent += token
	return true
}

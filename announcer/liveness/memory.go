package liveness

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// earshot is what was heard behind one NIC.
type earshot struct {
	machines map[MAC]machine
	last     time.Time
}

type machine struct {
	addr netip.Addr // it speaks for, where known
	at   time.Time
}

// A segment has hundreds of machines; a few that were heard of late are enough to tell that our NIC works.
const (
	maxMachines  = 32
	maxWitnesses = 3
)

// hear notes a frame and returns for how long nobody had been heard before it.
func (e *earshot) hear(addr netip.Addr, from MAC, at time.Time) (deaf time.Duration) {
	if !e.last.IsZero() && at.After(e.last) {
		deaf = at.Sub(e.last)
	}
	if at.After(e.last) {
		e.last = at
	}
	m := e.machines[from]
	if addr.IsValid() {
		m.addr = addr
	}
	if at.After(m.at) {
		m.at = at
	}
	e.machines[from] = m
	if len(e.machines) > maxMachines {
		oldest := from
		for mac, m := range e.machines {
			if m.at.Before(e.machines[oldest].at) {
				oldest = mac
			}
		}
		delete(e.machines, oldest)
	}
	return deaf
}

// third says whether anybody but that machine was ever heard.
func (e *earshot) third(but MAC) bool {
	if e == nil {
		return false
	}
	for mac := range e.machines {
		if mac != but {
			return true
		}
	}
	return false
}

// heardOther says whether another machine was heard since then.
func (e *earshot) heardOther(but MAC, since time.Time) bool {
	for mac, m := range e.machines {
		if mac != but && !m.at.Before(since) {
			return true
		}
	}
	return false
}

// lastOf returns when the machine was heard last; zero for never.
func (e *earshot) lastOf(mac MAC) time.Time {
	if e == nil {
		return time.Time{}
	}
	return e.machines[mac].at
}

type witness struct {
	addr netip.Addr
	mac  MAC
}

// witnesses returns machines that can be asked for a sign of life, those heard last first.
func (e *earshot) witnesses(but MAC) []witness {
	byTime := slices.SortedFunc(maps.Keys(e.machines), func(a, b MAC) int { return e.machines[b].at.Compare(e.machines[a].at) })
	var some []witness
	for _, mac := range byTime {
		if mac != but && e.machines[mac].addr.IsValid() && len(some) < maxWitnesses {
			some = append(some, witness{e.machines[mac].addr, mac})
		}
	}
	return some
}

// delays measures how long a node takes to answer, as TCP does (RFC 6298 section 2).
type delays struct {
	mean, deviation time.Duration
}

func (d *delays) add(sample time.Duration) {
	if d.mean == 0 {
		d.mean, d.deviation = sample, sample/2
		return
	}
	d.deviation += (max(d.mean-sample, sample-d.mean) - d.deviation) / 4
	d.mean += (sample - d.mean) / 8
}

// stretch is what the delays add to a wait, at most as much as the wait itself.
func (d *delays) stretch(wait time.Duration) time.Duration {
	return min(d.mean+4*d.deviation, wait)
}

// takeovers are the times of an address's last takeovers: each within backOffFor doubles the silence that the next one needs.
type takeovers []time.Time

const (
	backOffFor = 10 * time.Minute
	maxBackOff = 3
)

func (p takeovers) add(now time.Time) takeovers {
	return append(p[max(0, len(p)-maxBackOff+1):len(p):len(p)], now)
}

// recent counts those that still make the next one wait.
func (p takeovers) recent(now time.Time) int {
	n := 0
	for _, at := range p {
		if now.Sub(at) < backOffFor {
			n++
		}
	}
	return n
}

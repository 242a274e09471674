package liveness

import (
	"net/netip"
	"slices"
	"time"
)

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

// verdict is a silence that was told.
type verdict struct {
	nic  string
	addr netip.Addr
	mac  MAC
	at   time.Time
}

// history remembers verdicts that turned out to be mistaken: each within backOffFor doubles the silence that the next verdict
// about the address needs. Takeovers from nodes that had really died don't count: nothing is wrong with them.
type history struct {
	verdicts []verdict
	mistakes map[netip.Addr][]time.Time
}

const (
	backOffFor = 10 * time.Minute
	maxBackOff = 3
	// A node that answers for the address again within soon was paused, not dead. Who was away for longer was taken over from
	// with good reason, though it may still have the address; and who started anew doesn't have it.
	soon = 500 * time.Millisecond
)

func (h *history) add(v verdict) {
	h.verdicts = slices.DeleteFunc(h.verdicts, func(old verdict) bool {
		return v.at.Sub(old.at) > soon || old.addr == v.addr
	})
	h.verdicts = append(h.verdicts, v)
}

// answered tells that a machine answered for an address.
func (h *history) answered(nic string, mac MAC, addr netip.Addr, at time.Time) {
	if len(h.verdicts) == 0 {
		return
	}
	h.verdicts = slices.DeleteFunc(h.verdicts, func(v verdict) bool {
		if v.nic != nic || v.mac != mac || !at.After(v.at) {
			return false
		}
		mistaken := v.addr == addr && at.Sub(v.at) <= soon
		if mistaken {
			past := h.mistakes[v.addr]
			h.mistakes[v.addr] = append(slices.Clone(past[max(0, len(past)-maxBackOff+1):]), at)
		}
		return mistaken
	})
}

// withdraw forgets a verdict that was not acted on.
func (h *history) withdraw(addr netip.Addr) {
	h.verdicts = slices.DeleteFunc(h.verdicts, func(v verdict) bool { return v.addr == addr })
}

// backOff is how many times the silence that an address needs is doubled.
func (h *history) backOff(addr netip.Addr, now time.Time) int {
	n := 0
	for _, at := range h.mistakes[addr] {
		if now.Sub(at) < backOffFor {
			n++
		}
	}
	return n
}

// prune forgets what no longer counts, so that the memory doesn't grow with all addresses that ever were.
func (h *history) prune(now time.Time) {
	for addr := range h.mistakes {
		if h.backOff(addr, now) == 0 {
			delete(h.mistakes, addr)
		}
	}
}

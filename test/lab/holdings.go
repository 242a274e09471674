package lab

import (
	"net/netip"
	"time"
)

// Holding is a time during which a node had an address.
type Holding struct {
	Node     string
	From, To time.Time
}

// Holdings tells who had the address when, in order of beginning; what is still
// held at the end lasts until end.
func Holdings(events []AddrEvent, address netip.Addr, end time.Time) []Holding {
	var out []Holding
	open := make(map[string]int)
	for _, e := range events {
		if e.Addr.Addr() != address || e.Renewed {
			continue
		}
		if e.Added {
			open[e.Node] = len(out)
			out = append(out, Holding{Node: e.Node, From: e.At, To: end})
			continue
		}
		if i, ok := open[e.Node]; ok {
			out[i].To = e.At
			delete(open, e.Node)
		}
	}
	return out
}

// DoubleHeld is the longest time that two nodes had the address together.
func DoubleHeld(holdings []Holding) time.Duration {
	var longest time.Duration
	for i, a := range holdings {
		for _, b := range holdings[i+1:] {
			from, to := a.From, a.To
			if b.From.After(from) {
				from = b.From
			}
			if b.To.Before(to) {
				to = b.To
			}
			if a.Node != b.Node {
				longest = max(longest, to.Sub(from))
			}
		}
	}
	return longest
}

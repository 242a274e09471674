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

// Overlap is a time for which two nodes had the address.
type Overlap struct {
	Nodes    [2]string
	From, To time.Time
}

// Overlaps returns each time that two nodes had the address together, in order of the holdings.
func Overlaps(holdings []Holding) []Overlap {
	var found []Overlap
	for i, a := range holdings {
		for _, b := range holdings[i+1:] {
			o := Overlap{Nodes: [2]string{a.Node, b.Node}, From: a.From, To: a.To}
			if b.From.After(o.From) {
				o.From = b.From
			}
			if b.To.Before(o.To) {
				o.To = b.To
			}
			if a.Node != b.Node && o.To.After(o.From) {
				found = append(found, o)
			}
		}
	}
	return found
}

// DoubleHeld is the longest of the Overlaps.
func DoubleHeld(holdings []Holding) time.Duration {
	var longest time.Duration
	for _, o := range Overlaps(holdings) {
		longest = max(longest, o.To.Sub(o.From))
	}
	return longest
}

package agent

import (
	"maps"
	"net/netip"
	"slices"

	"evenkeel.io/evenkeel/announcer/traffic"
)

// Traffic measures what VIPs carry; traffic.Traffic is one. Nothing of it blocks.
type Traffic interface {
	// Set tells which addresses are bound: the complete list.
	Set(vips []traffic.VIP)
}

// setTraffic tells which addresses are bound, when that has changed. One whose VIP isn't known yet, as an earlier process left it, isn't
// measured before the API has said whose it is.
func (a *Agent) setTraffic() {
	if !a.moved {
		return
	}
	var vips []traffic.VIP
	for _, addr := range slices.SortedFunc(maps.Keys(a.places), netip.Addr.Compare) {
		if p := a.places[addr]; p.Bound() && p.owner.VIP != "" {
			vips = append(vips, traffic.VIP{Addr: addr, Name: p.owner.VIP})
		}
	}
	if slices.Equal(vips, a.measured) {
		return
	}
	a.measured = vips
	a.opts.Traffic.Set(slices.Clone(vips))
}

package agent

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/place"
)

// follow tells the wire whose addresses the places want to hear of, when that has changed.
func (a *Agent) follow() {
	addrs := slices.SortedFunc(maps.Keys(a.places), netip.Addr.Compare)
	if !slices.Equal(addrs, a.followed) {
		a.followed = addrs
		a.opts.Wire.Follow(addrs)
	}
}

// setTargets tells the watch whom the places want to be watched, when that has changed. Who guards is in the state file too.
func (a *Agent) setTargets() {
	var targets []liveness.Target
	for addr, p := range a.places {
		if watched, ok := p.Watching(); ok {
			targets = append(targets, liveness.Target{Addr: addr, NIC: p.NIC().Name, MAC: watched.MAC, Rank: watched.Rank, Chase: watched.Chase})
		}
	}
	slices.SortFunc(targets, func(x, y liveness.Target) int { return x.Addr.Compare(y.Addr) })
	if slices.Equal(targets, a.watched) {
		return
	}
	a.watched, a.dirty = targets, true
	a.opts.Watch.SetTargets(targets)
}

// Liveness tells what the watch found out about a node that it was told to watch.
func (a *Agent) Liveness(ctx context.Context, event liveness.Event) {
	a.inbox.send(func() {
		if event.Kind == liveness.HeardAgain {
			klog.FromContext(ctx).Info("The interface hears other machines again, asking who has the addresses now", "interface", event.NIC)
			a.askAll(ctx, event.NIC)
			return
		}
		p, ok := a.places[event.Addr]
		if !ok {
			return
		}
		switch event.Kind {
		case liveness.Heard:
			p.Answered(event.MAC)
			a.report(event.Addr)
		case liveness.Silent:
			a.takeOver(ctx, p, event)
		case liveness.Returned:
			a.carryOut(ctx, event.Addr, p.Returned(event.MAC, a.opts.Clock.Now()))
		}
	})
}

// askAll asks the wire who else has the addresses of a NIC: those that are bound first, as somebody may have taken them over while
// nothing was heard, then those that are guarded, which somebody else may have by now.
func (a *Agent) askAll(ctx context.Context, nicName string) {
	var bound, guarded []netip.Addr
	for addr, p := range a.places {
		switch {
		case p.NIC().Name != nicName:
		case p.Bound():
			bound = append(bound, addr)
		case p.State() == place.Guarding:
			guarded = append(guarded, addr)
		}
	}
	slices.SortFunc(bound, netip.Addr.Compare)
	slices.SortFunc(guarded, netip.Addr.Compare)
	if addrs := append(bound, guarded...); len(addrs) > 0 {
		a.opts.Wire.Ask(ctx, nicName, addrs)
	}
}

// takeOver takes all addresses of a VIP over when one of them is no longer answered for: they move together.
func (a *Agent) takeOver(ctx context.Context, silent *placeState, event liveness.Event) {
	addrs := []netip.Addr{event.Addr}
	for _, addr := range silent.owner.Addresses {
		if addr != event.Addr {
			addrs = append(addrs, addr)
		}
	}
	for i, addr := range addrs {
		p, ok := a.places[addr]
		if !ok {
			continue
		}
		effects := p.Silent(event.MAC, a.opts.Clock.Now())
		if len(effects) == 0 {
			continue
		}
		if i == 0 {
			a.opts.Metrics.Takeovers.WithLabelValues("silence").Inc()
		}
		a.logger(ctx, addr).Info("The active node fell silent, taking the address over", "mac", event.MAC, "unanswered", event.Probes, "since", event.Since)
		a.carryOut(ctx, addr, effects)
		if p.Bound() && i == 0 && !event.Since.IsZero() {
			a.opts.Metrics.TakeoverSeconds.Observe(a.opts.Clock.Since(event.Since).Seconds())
		}
	}
}

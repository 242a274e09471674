package agent

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/wires"
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
			a.opts.Metrics.count(a.places)
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
	addrs := a.addrsWhere(func(p *placeState) bool { return p.NIC().Name == nicName && p.Bound() })
	addrs = append(addrs, a.addrsWhere(func(p *placeState) bool { return p.NIC().Name == nicName && p.State() == place.Guarding })...)
	if len(addrs) > 0 {
		a.opts.Wire.Ask(ctx, nicName, a.questions(addrs), true)
	}
}

// While a node that an address was taken over from is away, the wire is asked askAtOnce times in askEvery who else has what this node
// took over: a split segment that heals shows itself by nothing else. Below 10 a second ARP disturbs no switch. Once one of these
// answers shows that it has healed, all others are asked for at once, but no more than once in askAllEvery.
const (
	askEvery    = 250 * time.Millisecond
	askAtOnce   = 2
	askAllEvery = time.Second
)

// askUnsure asks for those in turn of which another node may believe that it has them, or for all of them. It returns when to be
// called again.
func (a *Agent) askUnsure(ctx context.Context, now time.Time) (next time.Time) {
	if now.Before(a.askDue) {
		return a.askDue
	}
	addrs := a.addrsWhere(func(p *placeState) bool { return p.Unsure() })
	if len(addrs) == 0 {
		a.healing = false
		return now.Add(askAllEvery)
	}
	a.askDue = now.Add(askEvery)
	if a.healing && !now.Before(a.askAllDue) {
		a.healing, a.askAllDue = false, now.Add(askAllEvery)
		a.ask(ctx, addrs)
		return a.askDue
	}
	from, found := slices.BinarySearchFunc(addrs, a.asked, netip.Addr.Compare)
	if found {
		from++
	}
	addrs = append(addrs[from:], addrs[:from]...)
	addrs = addrs[:min(len(addrs), askAtOnce)]
	a.asked = addrs[len(addrs)-1]
	a.ask(ctx, addrs)
	return a.askDue
}

// ask asks the wire who else has some addresses.
func (a *Agent) ask(ctx context.Context, addrs []netip.Addr) {
	byNIC := map[string][]netip.Addr{}
	for _, addr := range addrs {
		name := a.places[addr].NIC().Name
		byNIC[name] = append(byNIC[name], addr)
	}
	for name, some := range byNIC {
		a.opts.Wire.Ask(ctx, name, a.questions(some), false)
	}
}

// heal has all others asked for that another node may have, as one that this node wasn't sure of turns out to be with another node.
func (a *Agent) heal() { a.healing, a.askDue = true, time.Time{} }

// addrsWhere returns the addresses of some places, in order.
func (a *Agent) addrsWhere(holds func(*placeState) bool) []netip.Addr {
	var addrs []netip.Addr
	for addr, p := range a.places {
		if holds(p) {
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

func (a *Agent) questions(addrs []netip.Addr) []wires.Question {
	questions := make([]wires.Question, len(addrs))
	for i, addr := range addrs {
		questions[i] = question(addr, a.places[addr])
	}
	return questions
}

func question(addr netip.Addr, p *placeState) wires.Question {
	return wires.Question{Addr: addr, Title: p.Title(), Held: p.Bound()}
}

// takeOver takes all addresses of a VIP over when one of them is no longer answered for: they move together.
func (a *Agent) takeOver(ctx context.Context, silent *placeState, event liveness.Event) {
	addrs := []netip.Addr{event.Addr}
	for _, addr := range silent.owner.Addresses {
		if addr != event.Addr && !event.Alive { // a node that lives may well answer for the other address
			addrs = append(addrs, addr)
		}
	}
	for i, addr := range addrs {
		p, ok := a.places[addr]
		if !ok {
			continue
		}
		effects := p.Silent(event.MAC, event.Alive, a.opts.Clock.Now())
		if len(effects) == 0 {
			continue
		}
		if i == 0 && !p.Searching() {
			a.opts.Metrics.Takeovers.WithLabelValues("silence").Inc()
		}
		what := "The active node fell silent, taking the address over"
		if p.Searching() {
			what = "The active node lives but no longer answers for the address, asking who has it"
		}
		a.logger(ctx, addr).Info(what, "mac", event.MAC, "unanswered", event.Probes, "since", event.Since)
		a.carryOut(ctx, addr, effects)
		if p.Bound() && i == 0 && !event.Since.IsZero() {
			a.opts.Metrics.TakeoverSeconds.Observe(a.opts.Clock.Since(event.Since).Seconds())
		}
	}
}

package agent

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/protect"
	"evenkeel.io/evenkeel/announcer/wires"
)

// carryOut does what a place decided, and tells it what came of it.
func (a *Agent) carryOut(ctx context.Context, addr netip.Addr, effects []place.Effect) {
	p := a.place(addr)
	a.retitle(p, addr)
	for i := 0; i < len(effects); i++ {
		switch e := effects[i]; e.Do {
		case place.Probe:
			a.setGuard(ctx) // in force by the time the verdict is there
			probe := e.Probe
			a.opts.Wire.Probe(ctx, e.NIC.Name, addr, e.Patient, e.Ignore,
				func(owner, ignored place.MAC) { a.inbox.send(func() { a.verdict(ctx, addr, probe, owner, ignored) }) },
				func(owner place.MAC) { a.inbox.send(func() { a.lateAnswer(ctx, addr, owner) }) })
		case place.CancelProbe:
			a.opts.Wire.Cancel(addr)
		case place.Bind:
			a.setGuard(ctx)
			a.moved = true
			a.setHandoff(ctx) // in the kernel before anybody hears of us
			p.handing, p.bindBy = a.handing, time.Time{}
			if p.Silenced() != (place.MAC{}) {
				p.bindBy = a.opts.Clock.Now().Add(takeoverPatience)
			}
			if !a.mayBind(addr, p) {
				p.bindLater = true // the guard's answer, or the handoff's, brings us back
				continue
			}
			effects = append(effects, a.bind(ctx, p, addr, e.NIC)...)
		case place.Unbind:
			p.bindLater = false
			if err := a.opts.Binder.Unbind(ctx, addr); err != nil {
				// The address runs out by itself: the binder no longer renews what was unbound.
				a.logger(ctx, addr).Error(err, "Removing an address failed, its lifetime ends it")
			}
			a.logger(ctx, addr).Info("Let go of an address", "interface", e.NIC.Name)
			a.dirty = true
		case place.Announce:
			p.title = p.Title()
			a.opts.Wire.Announce(e.NIC.Name, addr, p.title)
		case place.Assert:
			a.opts.Metrics.Assertions.Inc()
			a.opts.Wire.Assert(addr)
		case place.Ask:
			a.opts.Wire.Ask(ctx, e.NIC.Name, []wires.Question{question(addr, p)}, true)
		case place.Defend:
			a.opts.Metrics.Defences.Inc()
			a.opts.Wire.Defend(addr)
		case place.Silence:
			a.opts.Wire.Silence(addr)
		}
	}
	a.moved = true
	a.opts.Metrics.count(a.places)
	if p.Done() {
		delete(a.places, addr)
		a.setGuard(ctx)
		return
	}
	a.report(addr)
}

// retitle has an address that is announced already announced by its new title.
func (a *Agent) retitle(p *placeState, addr netip.Addr) {
	if p.Bound() && p.title != p.Title() {
		p.title = p.Title()
		a.opts.Wire.Retitle(addr, p.title)
	}
}

func (a *Agent) bind(ctx context.Context, p *placeState, addr netip.Addr, on place.NIC) []place.Effect {
	found, ok := a.nicNamed(on.Name)
	if !ok {
		return p.BindDone(fmt.Errorf("interface %s is gone", on.Name), a.opts.Clock.Now())
	}
	err := a.opts.Binder.Bind(ctx, address.Binding{Addr: addr, Interface: found.Index, RequireOwn: on.RequireOwn})
	now := a.opts.Clock.Now()
	if err == nil {
		p.since, a.dirty = now, true
		a.logger(ctx, addr).Info("Bound an address", "interface", on.Name)
	} else {
		a.logger(ctx, addr).Error(err, "Binding an address failed", "interface", on.Name)
	}
	return p.BindDone(err, now)
}

// setGuard tells the guard which addresses are or may soon be on this node, and with which ports.
func (a *Agent) setGuard(ctx context.Context) {
	want, hostServed := map[netip.Addr]protect.Entry{}, a.opts.HostServed()
	for addr, p := range a.places {
		if p.State() == place.Idle || p.owner.UID == "" {
			continue // with an unknown owner, an earlier process's rules stay as they are until the API has spoken
		}
		entry := protect.Entry{Addr: addr, Local: p.owner.Service.Name == "" || hostServed}
		if on, ok := a.nicNamed(p.NIC().Name); ok && len(a.nics) > 1 { // with one alone there is no other to be kept quiet
			entry.Interface = on.Index
		}
		for _, port := range p.owner.Ports {
			entry.Ports = append(entry.Ports, protect.Port{Proto: protoOf[port.Protocol], Port: port.Port})
		}
		want[addr] = entry
	}
	if reflect.DeepEqual(want, a.guarded) {
		return
	}
	a.guarded = want
	entries := slices.SortedFunc(maps.Values(want), func(x, y protect.Entry) int { return x.Addr.Compare(y.Addr) })
	a.opts.Guard.Set(entries, func() {
		a.inbox.send(func() {
			a.ready = want
			a.bindReady(ctx)
		})
	})
}

// takeoverPatience is how long a VIP of a dead node waits for what is to be handed on to its earlier owners, whose connections our
// kernel would reset meanwhile. Usually that takes two milliseconds. But the kernel commits one nftables transaction of a network
// namespace at a time, and whoever closes such a socket (nft does, for each of kube-proxy's changes) keeps others waiting until what was
// deleted before is freed, half a second and more on a busy machine (nf_tables_api.c, nft_rcv_nl_event). Nobody answers for the VIP meanwhile.
const takeoverPatience = 25 * time.Millisecond

// bindReady binds what was only waiting for the guard or the handoff. It returns when the next one has waited for long enough; zero: none
// does.
func (a *Agent) bindReady(ctx context.Context) (due time.Time) {
	for addr, p := range a.places {
		if !p.bindLater || p.State() != place.Binding {
			continue
		}
		if a.mayBind(addr, p) {
			p.bindLater = false
			a.carryOut(ctx, addr, a.bind(ctx, p, addr, p.NIC()))
			continue
		}
		if a.guardReady(addr) && !p.bindBy.IsZero() && (due.IsZero() || p.bindBy.Before(due)) {
			due = p.bindBy
		}
	}
	return due
}

// mayBind says whether all is in the kernel that has to be there before an address is.
func (a *Agent) mayBind(addr netip.Addr, p *placeState) bool {
	waited := !p.bindBy.IsZero() && !a.opts.Clock.Now().Before(p.bindBy)
	return a.guardReady(addr) && (a.handedOn >= p.handing || waited)
}

var protoOf = map[string]protect.Proto{"tcp": protect.TCP, "udp": protect.UDP, "sctp": protect.SCTP}

func (a *Agent) guardReady(addr netip.Addr) bool {
	entry, ok := a.ready[addr]
	return ok && reflect.DeepEqual(entry, a.guarded[addr])
}

func (a *Agent) verdict(ctx context.Context, addr netip.Addr, probe uint64, owner, ignored place.MAC) {
	p, ok := a.places[addr]
	if !ok {
		return
	}
	searched := p.Searching()
	effects := p.Verdict(probe, owner, ignored, a.opts.Clock.Now())
	switch {
	case owner == (place.MAC{}) && searched && len(effects) > 0:
		a.opts.Metrics.Takeovers.WithLabelValues("search").Inc()
		a.logger(ctx, addr).Info("Nobody has the address that another node had, taking it over")
	case owner == (place.MAC{}):
	case p.State() == place.Guarding:
		a.logger(ctx, addr).Info("Another node has the address by now, not binding it", "mac", owner)
	default:
		a.opts.Metrics.Conflicts.Inc()
		a.logger(ctx, addr).Info("Another machine answers for the address, not binding it", "mac", owner)
	}
	a.carryOut(ctx, addr, effects)
}

func (a *Agent) lateAnswer(ctx context.Context, addr netip.Addr, owner place.MAC) {
	p, ok := a.places[addr]
	if !ok {
		return
	}
	effects := p.LateAnswer(owner, a.opts.Clock.Now())
	if len(effects) > 0 {
		a.opts.Metrics.Conflicts.Inc()
		a.logger(ctx, addr).Info("Another machine answered late for the address, withdrawing it", "mac", owner)
	}
	a.carryOut(ctx, addr, effects)
}

func noInterface(addr netip.Addr, interfaces []string, reason nic.Reason) error {
	switch reason {
	case nic.InterfaceMissing:
		return fmt.Errorf("the node has none of the interfaces that %s may be announced on: %s", addr, strings.Join(interfaces, ", "))
	case nic.NoCarrier:
		return fmt.Errorf("the interface for %s has no carrier", addr)
	case nic.NodeAddress:
		return fmt.Errorf("%s is the node's own address", addr)
	}
	return fmt.Errorf("no interface has %s in its subnet", addr)
}

// probingGrace: a placeholder is not reported as probing before so much time has passed, as nearly all are bound by then; it
// halves what a new VIP writes. Anything reported within 2 s counts as a sign of life.
const probingGrace = 200 * time.Millisecond

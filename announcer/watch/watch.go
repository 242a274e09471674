// Package watch asks the nodes that this one stands by for whether they still answer for their VIPs (package liveness decides,
// package echo asks). One loop owns the decisions; sockets only feed it.
package watch

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/probe"
)

// idle is how long the loop waits with nobody to watch; SetTargets wakes it.
const idle = time.Minute

// Options of a Watch. All are required.
type Options struct {
	Config liveness.Config
	// Neighbour asks one machine for addr by a unicast ARP request or neighbour solicitation.
	Neighbour func(nicName string, addr netip.Addr, to liveness.MAC) error
	// Events is told what became certain. It must not block.
	Events func(liveness.Event)
	Clock  clock.Clock
}

// Watch watches. Its methods are safe for concurrent use and don't wait for the wire.
type Watch struct {
	opts Options
	wake chan struct{}

	mu   sync.Mutex
	core *liveness.Core
	nics []nic.NIC
}

// New returns a watch without targets; Run makes it work.
func New(opts Options) *Watch {
	return &Watch{opts: opts, wake: make(chan struct{}, 1), core: liveness.New(opts.Config)}
}

// SetNICs tells which NICs there are.
func (w *Watch) SetNICs(_ context.Context, nics []nic.NIC) {
	w.mu.Lock()
	for _, n := range nics {
		if !n.Carrier {
			w.core.NICDown(n.Name)
		}
	}
	w.nics = nics
	w.mu.Unlock()
	w.poke()
}

// SetTargets replaces the targets.
func (w *Watch) SetTargets(targets []liveness.Target) {
	w.mu.Lock()
	w.core.SetTargets(targets, w.opts.Clock.Now())
	w.mu.Unlock()
	w.poke()
}

// Stats returns the counts.
func (w *Watch) Stats() liveness.Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.core.Stats()
}

// Heard takes what was heard by ARP and neighbour discovery. Only an answer in a frame from the very MAC that it speaks of is a
// sign of life for its address; any other frame only shows that our NIC works.
func (w *Watch) Heard(nicName string, h probe.Heard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	own := h.Source == h.MAC && h.Owner()
	if own && h.Kind == probe.KindAnswer {
		w.core.Answer(nicName, h.Addr, h.MAC, liveness.Neighbour, h.At)
	}
	addr := h.Addr
	if !own {
		addr = netip.Addr{}
	}
	w.core.Frame(nicName, addr, h.Source, h.At)
}

func (w *Watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run asks and listens until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	ears := newEars(w.replied)
	defer ears.close()
	timer := w.opts.Clock.NewTimer(idle)
	defer timer.Stop()
	for {
		w.mu.Lock()
		nics := w.nics
		w.mu.Unlock()
		ears.follow(ctx, nics)
		events := w.turn(ctx, ears)
		for _, event := range events {
			w.opts.Events(event)
		}
		w.mu.Lock()
		deadline := w.core.Deadline()
		w.mu.Unlock()
		pause := idle
		if !deadline.IsZero() {
			pause = max(deadline.Sub(w.opts.Clock.Now()), 0)
		}
		timer.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C():
		}
	}
}

// turn judges and asks. Before a silence is believed, everything that the kernel has received is read.
func (w *Watch) turn(ctx context.Context, ears *ears) []liveness.Event {
	now := w.opts.Clock.Now()
	w.mu.Lock()
	doubt := w.core.Suspicious(now)
	w.mu.Unlock()
	if doubt {
		ears.sync()
	}
	w.mu.Lock()
	probes, events := w.core.Tick(now)
	w.mu.Unlock()
	for _, p := range probes {
		var err error
		if p.Kind == liveness.Echo {
			err = ears.ask(p)
		} else {
			err = w.opts.Neighbour(p.NIC, p.Addr, p.MAC)
		}
		if err != nil {
			klog.FromContext(ctx).V(3).Info("Asking another node for a VIP failed", "vip", p.Addr, "interface", p.NIC, "mac", p.MAC, "err", err)
		}
	}
	return events
}

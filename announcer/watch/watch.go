// Package watch asks the nodes that this one stands by for whether they still answer for their VIPs, and its neighbours whether
// they live (package liveness decides, package echo asks). One loop owns the decisions; sockets only feed it.
package watch

import (
	"context"
	"net/netip"
	"slices"
	"sync"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/echo"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/probe"
)

// Options of a Watch. All are required.
type Options struct {
	Config liveness.Config
	// Solicit asks one machine for addr by a unicast ARP request or neighbour solicitation.
	Solicit func(nicName string, addr netip.Addr, to liveness.MAC) error
	// Sync has Watch.Heard called for everything that the kernel has received so far; Watch.Heard is called by whoever reads.
	Sync func()
	// Events is told what became certain. It must not block.
	Events func(liveness.Event)
	// SilentNeighbours is told the complete list when it changes. It must not block.
	SilentNeighbours func(nodes []string)
	Clock            clock.Clock
}

// Watch watches. Its methods are safe for concurrent use and don't wait for the wire.
type Watch struct {
	opts Options
	wake chan struct{}

	mu         sync.Mutex
	core       *liveness.Core
	nics       []nic.NIC
	neighbours []Neighbour
}

// Neighbour is a node to watch by one of its own addresses.
type Neighbour struct {
	Node string
	MAC  liveness.MAC
	Addr netip.Addr
}

// New returns a watch without targets; Run makes it work.
func New(opts Options) *Watch {
	return &Watch{opts: opts, wake: make(chan struct{}, 1), core: liveness.New(opts.Config)}
}

// SetNICs tells which NICs there are.
func (w *Watch) SetNICs(_ context.Context, nics []nic.NIC) {
	w.mu.Lock()
	for _, old := range w.nics {
		if !slices.ContainsFunc(nics, func(n nic.NIC) bool { return n.Name == old.Name && n.Index == old.Index }) {
			w.core.NICDown(old.Name)
		}
	}
	for _, n := range nics {
		if !n.Carrier {
			w.core.NICDown(n.Name)
		}
	}
	w.nics = nics
	w.setNeighbours()
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

// SetNeighbours replaces the nodes that are watched at a low rate. Those that aren't behind one of the NICs are passed over.
func (w *Watch) SetNeighbours(neighbours []Neighbour) {
	w.mu.Lock()
	w.neighbours = slices.Clone(neighbours)
	w.setNeighbours()
	w.mu.Unlock()
	w.poke()
}

func (w *Watch) setNeighbours() {
	var near []liveness.Neighbour
	for _, n := range w.neighbours {
		if on, ok := w.behind(n.Addr); ok {
			near = append(near, liveness.Neighbour{Node: n.Node, Addr: n.Addr, NIC: on, MAC: n.MAC})
		}
	}
	w.core.SetNeighbours(near, w.opts.Clock.Now())
}

// behind finds the NIC that an address is behind, whether it has a carrier or not: what was found out before it lost it stands.
func (w *Watch) behind(addr netip.Addr) (string, bool) {
	name, bits := "", -1
	for _, n := range w.nics {
		for _, p := range n.Addresses {
			if p.Contains(addr) && p.Addr() != addr && p.Bits() > bits {
				name, bits = n.Name, p.Bits()
			}
		}
	}
	return name, bits >= 0
}

// Stats returns the counts.
func (w *Watch) Stats() liveness.Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.core.Stats()
}

// Heard takes what was heard by ARP and neighbour discovery. Only an answer to us alone, in a frame from the very MAC that it
// speaks of, is a sign of life for its address; any other frame only shows that our NIC works.
func (w *Watch) Heard(nicName string, h probe.Heard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := liveness.Sighting{From: h.Source, At: h.At}
	if h.Source == h.MAC && h.Owner() {
		s.Addr = h.Addr
		if h.Kind == probe.KindAnswer && h.Direct {
			w.core.Answer(nicName, h.Addr, h.MAC, liveness.Solicit, h.At)
		}
		w.core.Claim(nicName, h.Addr, h.MAC, h.At)
	}
	w.core.Frame(nicName, s)
	w.hurry()
}

// echoed takes an answer to an echo, and the questions of other announcers: they come from an own address of theirs.
func (w *Watch) echoed(nicName string, m echo.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.Question {
		w.core.Frame(nicName, liveness.Sighting{From: m.MAC, Addr: m.Addr, Own: true, At: m.At})
	} else {
		w.core.Answer(nicName, m.Addr, m.MAC, liveness.Echo, m.At)
	}
	w.hurry()
}

// hurry wakes the loop for what can't wait. It is called with the lock held.
func (w *Watch) hurry() {
	if w.core.Urgent() {
		w.poke()
	}
}

func (w *Watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run asks and listens until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	ears := newEars(w.opts.Clock, w.echoed)
	defer ears.close()
	timer := w.opts.Clock.NewTimer(0)
	defer timer.Stop()
	var silent []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-timer.C():
		}
		w.mu.Lock()
		nics := w.nics
		w.mu.Unlock()
		ears.follow(ctx, nics)
		w.turn(ctx, ears)
		w.mu.Lock()
		deadline, nowSilent := w.core.Deadline(), w.core.SilentNeighbours()
		w.mu.Unlock()
		if !slices.Equal(silent, nowSilent) {
			klog.FromContext(ctx).Info("The neighbours that are silent have changed", "nodes", nowSilent)
			silent = nowSilent
			w.opts.SilentNeighbours(slices.Clone(silent))
		}
		timer.Reset(max(deadline.Sub(w.opts.Clock.Now()), 0))
	}
}

// turn judges and asks. Before a silence is believed, everything that the kernel has received is read.
func (w *Watch) turn(ctx context.Context, ears *ears) {
	now := w.opts.Clock.Now()
	w.mu.Lock()
	doubt := w.core.Suspicious(now)
	w.mu.Unlock()
	if doubt {
		ears.sync()
		w.opts.Sync()
	}
	w.mu.Lock()
	probes, events := w.core.Tick(now)
	if w.opts.Clock.Since(now) > w.opts.Config.Late {
		// We were stopped since the clock was read: what was certain then may no longer be true.
		w.core.Withdraw(events)
		events = slices.DeleteFunc(events, func(e liveness.Event) bool { return e.Kind == liveness.Silent })
	}
	w.mu.Unlock()
	for _, event := range events {
		w.opts.Events(event)
	}
	var unsent []liveness.Probe
	for _, p := range probes {
		var err error
		if p.Kind == liveness.Echo {
			err = ears.ask(p)
		} else {
			err = w.opts.Solicit(p.NIC, p.Addr, p.MAC)
		}
		if err != nil {
			klog.FromContext(ctx).V(3).Info("Asking another node for an address failed", "vip", p.Addr, "interface", p.NIC, "mac", p.MAC, "err", err)
			unsent = append(unsent, p)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range unsent {
		w.core.Unsent(p)
	}
}

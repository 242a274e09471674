package traffic

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// sampleEvery is how often counters are read: a dump of each set, less than a millisecond for 100 VIPs.
const sampleEvery = 5 * time.Second

// Counter counts addresses in the kernel; Table is one.
type Counter interface {
	Set(ctx context.Context, addrs []netip.Addr) error
	Renew(ctx context.Context) error
	Read(ctx context.Context) (map[netip.Addr]Counts, error)
}

// Options of a Traffic. All fields are required.
type Options struct {
	Counter Counter
	// RenewEvery is the pace at which the kernel's elements are renewed.
	RenewEvery time.Duration
	// NICs are those that may announce VIPs; Links reads what they have carried, and CPU how busy the processors were.
	NICs  func() []nic.NIC
	Links func([]nic.NIC) ([]Link, error)
	CPU   func() (CPU, error)
	// Notify is told what came of it whenever the counters were read or changed. It must not block.
	Notify func(error)
	Clock  clock.WithTicker
}

// Traffic measures beside the agent's loop. A nil Traffic measures nothing. Its methods are safe for concurrent use.
type Traffic struct {
	opts    Options
	changed chan struct{}

	mu       sync.Mutex
	vips     []VIP // what the agent wants counted
	meter    *Meter
	measured bool // at least once

	// Both are Run's: renewed is when elements were last renewed, and counted whether the kernel counts what it should.
	renewed time.Time
	counted bool
}

// New returns a Traffic whose counter is open and counts nothing.
func New(opts Options) *Traffic {
	return &Traffic{opts: opts, changed: make(chan struct{}, 1), meter: NewMeter(), counted: true}
}

// Set tells which addresses this node has bound: the complete list. It doesn't wait for anything.
func (t *Traffic) Set(vips []VIP) {
	if t == nil {
		return
	}
	t.mu.Lock()
	t.vips = vips
	t.mu.Unlock()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Status is what is published as of now. ok is false before anything was measured.
func (t *Traffic) Status() (status v1alpha1.VIPNodeTrafficStatus, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.meter.Status(t.opts.Clock.Now()), t.measured
}

// Totals are all that was counted of this node's VIPs. They only grow.
func (t *Traffic) Totals() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.meter.Totals()
}

// Run measures until ctx ends.
func (t *Traffic) Run(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	tick := t.opts.Clock.NewTicker(sampleEvery)
	defer tick.Stop()
	t.renewed = t.opts.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.changed:
			t.apply(ctx)
		case <-tick.C():
			t.sample(ctx)
		}
	}
}

// apply has the kernel count what is bound now.
func (t *Traffic) apply(ctx context.Context) {
	t.mu.Lock()
	vips := slices.Clone(t.vips)
	t.mu.Unlock()
	addrs := make([]netip.Addr, len(vips))
	for i, vip := range vips {
		addrs[i] = vip.Addr
	}
	err := t.opts.Counter.Set(ctx, addrs)
	t.counted = err == nil
	t.tell(ctx, err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.meter.SetVIPs(vips, t.opts.Clock.Now())
}

// sample reads all counters, and renews the kernel's elements when that is due, or when they can't be read.
func (t *Traffic) sample(ctx context.Context) {
	if !t.counted {
		t.apply(ctx)
	}
	t.sampleHost(ctx)
	t.mu.Lock()
	idle := len(t.vips) == 0
	t.mu.Unlock()
	if idle {
		return // an empty table needs no renewal
	}
	counts, err := t.opts.Counter.Read(ctx)
	now := t.opts.Clock.Now()
	if err == nil {
		t.mu.Lock()
		t.meter.Count(counts, now)
		t.mu.Unlock()
	}
	if err != nil || now.Sub(t.renewed) >= t.opts.RenewEvery {
		if err = t.opts.Counter.Renew(ctx); err == nil {
			t.renewed = now
			t.mu.Lock()
			t.meter.Restarted()
			t.mu.Unlock()
		}
	}
	t.tell(ctx, err)
}

func (t *Traffic) sampleHost(ctx context.Context) {
	links, err := t.opts.Links(t.opts.NICs())
	cpu, cpuErr := t.opts.CPU()
	now := t.opts.Clock.Now()
	t.mu.Lock()
	t.meter.Links(links, now)
	if cpuErr == nil {
		t.meter.CPU(cpu, now)
	}
	t.measured = true
	t.mu.Unlock()
	if err := errors.Join(err, cpuErr); err != nil {
		klog.FromContext(ctx).V(1).Info("How busy the node is can't be read in full", "err", err)
	}
}

func (t *Traffic) tell(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		klog.FromContext(ctx).V(1).Info("The VIPs' traffic can't be counted now", "err", err)
	}
	t.opts.Notify(err)
}

var _ Counter = (*Table)(nil)

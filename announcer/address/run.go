package address

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

const (
	// stepsPerRenewal is how often within a renewal interval leases are checked and failed restorations repeated.
	stepsPerRenewal = 8
	// eventBacklog is how many reads of the monitor may wait for the loop.
	eventBacklog = 256
)

// notice is one read of the monitor.
type notice struct {
	events  []rtnl.Event
	overrun bool
}

// Run renews the bindings, follows the kernel's notifications and delivers events until ctx ends, which is no error.
// The addresses stay where they are then, and expire unless ExtendAll was called. An error means that the Binder can't
// know any more what happens to its addresses.
func (b *Binder) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	notices := make(chan notice, eventBacklog)
	g.Go(func() error { return b.read(gctx, notices) })
	g.Go(func() error { return b.loop(gctx, notices) })
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

func (b *Binder) read(ctx context.Context, notices chan<- notice) error {
	for {
		events, err := b.monitor.Read(ctx)
		n := notice{events: events}
		switch {
		case errors.Is(err, rtnl.ErrOverrun):
			n.overrun = true
		case err != nil:
			return fmt.Errorf("following addresses: %w", err)
		}
		select {
		case notices <- n:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *Binder) loop(ctx context.Context, notices <-chan notice) error {
	tick := time.NewTicker(b.opts.RenewEvery / stepsPerRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-notices:
			b.observe(ctx, drain(n, notices))
		case <-tick.C:
			// A renewal must not run ahead of deletions that are known already.
			b.observe(ctx, drain(notice{}, notices))
			b.step(ctx)
		case <-b.wake:
		}
		b.deliver()
	}
}

// drain adds what is waiting to n.
func drain(n notice, notices <-chan notice) notice {
	for {
		select {
		case more := <-notices:
			n.events = append(n.events, more.events...)
			n.overrun = n.overrun || more.overrun
		default:
			return n
		}
	}
}

// step ends lapsed leases, repeats failed restorations and renews when it is time.
func (b *Binder) step(ctx context.Context) {
	b.ops.Lock()
	defer b.ops.Unlock()
	if b.isStopped() {
		return
	}
	b.lapse(ctx)
	if b.unsettled {
		b.settle(ctx)
	} else {
		b.restore(ctx)
	}
	if now := b.opts.Clock.Now(); now >= b.nextRenewal {
		b.nextRenewal = now.Add(b.opts.RenewEvery)
		b.renew(ctx)
	}
}

func (b *Binder) isStopped() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.stopped
}

// deliver hands the events to Notify.
func (b *Binder) deliver() {
	b.mu.Lock()
	events := b.events
	b.events = nil
	b.mu.Unlock()
	for _, e := range events {
		b.opts.Notify(e)
	}
}

// observe takes in what the kernel told and acts on what concerns a binding.
func (b *Binder) observe(ctx context.Context, n notice) {
	if len(n.events) == 0 && !n.overrun {
		return
	}
	b.ops.Lock()
	defer b.ops.Unlock()
	if b.isStopped() {
		return
	}
	relevant := n.overrun
	if n.overrun {
		klog.FromContext(ctx).Info("Kernel notifications were lost, listing addresses")
		// Which own addresses have gone is unknown; the listing below finds those that haven't.
		b.mu.Lock()
		clear(b.own)
		b.mu.Unlock()
	}
	var gone []*held
	for _, e := range n.events {
		switch {
		case e.Link != nil && e.Removed:
			gone = append(gone, b.linkGone(e.Link.Index)...)
		case e.Address != nil && b.addressChanged(*e.Address, e.Removed):
			relevant = true
		}
	}
	b.lose(ctx, gone, InterfaceGone)
	if relevant {
		b.settle(ctx)
	}
}

// linkGone forgets the own addresses of an interface and returns the bindings that it had.
func (b *Binder) linkGone(index int) []*held {
	b.mu.Lock()
	delete(b.own, index)
	b.mu.Unlock()
	return b.choose(func(h *held) bool { return h.Interface == index })
}

// addressChanged takes in one notification and says whether it needs action: an own address came or went where VIPs
// are, or a VIP went.
func (b *Binder) addressChanged(a rtnl.Address, removed bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h, ok := b.held[a.Addr()]; ok && h.Interface == a.Index && a.Full() {
		return removed
	}
	changed := false
	if removed {
		_, changed = b.own[a.Index][a.Prefix]
		delete(b.own[a.Index], a.Prefix)
	} else {
		changed = b.addOwn(a)
	}
	if !changed {
		return false
	}
	for _, h := range b.held {
		if h.Interface == a.Index {
			return true
		}
	}
	return false
}

package address

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// putBackLimit is how often an address is put back within one renewal interval. Whatever keeps deleting it is not
// argued with at full speed; the next renewal puts it back.
const putBackLimit = 20

// refresh sends what renews each of hs under its lease, or, with behind, moves it to the end of the interface's list.
// It is the only way in which a held address is sent to the kernel again. A lease that has ended is left alone; an
// answer that comes late has the address deleted before anything else is done. The errors are those of hs that the
// kernel refused. The caller holds ops.
func (b *Binder) refresh(ctx context.Context, hs []*held, terms Terms, behind bool) map[*held]error {
	refused := map[*held]error{}
	size := rtnl.BatchSize
	if behind {
		size /= 2
	}
	for chunk := range slices.Chunk(hs, size) {
		b.refreshBatch(ctx, chunk, terms, behind, refused)
	}
	return refused
}

func (b *Binder) refreshBatch(ctx context.Context, hs []*held, terms Terms, behind bool, refused map[*held]error) {
	// Everything from here to the second reading of the clock may take any time: the process may be stopped, the
	// machine paused, the kernel busy. What is sent is right if it arrives before checked leases end.
	checked := b.opts.Clock.Now()
	hs = b.valid(hs, checked)
	if len(hs) == 0 {
		return
	}
	b.opts.BeforeRenewal()
	var reqs []rtnl.Request
	for _, h := range hs {
		a := vip(h.Addr, h.Interface, terms.Lifetime)
		if behind {
			reqs = append(reqs, rtnl.Request{Op: rtnl.Delete, Address: a})
		}
		reqs = append(reqs, rtnl.Request{Op: rtnl.Replace, Address: a})
	}
	errs, err := b.kernel.Apply(reqs)
	acked := b.opts.Clock.Now()
	if err != nil {
		// Nobody knows what has been done: the leases stay what they were, and end if this goes on.
		for _, h := range hs {
			refused[h] = err
		}
		return
	}
	per := len(reqs) / len(hs)
	var late []*held
	b.mu.Lock()
	for i, h := range hs {
		if err := errs[i*per+per-1]; err != nil {
			refused[h] = err
			continue
		}
		lease, verdict := h.lease.Renewed(terms, checked, acked)
		if verdict == Late {
			late = append(late, h)
			continue
		}
		h.lease, h.state, h.reason = lease, Bound, ""
	}
	b.mu.Unlock()
	b.lose(ctx, late, LateRenewal)
}

// valid keeps those of hs whose lease lasts at now and that nobody is unbinding.
func (b *Binder) valid(hs []*held, now Instant) []*held {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var list []*held
	for _, h := range hs {
		if !h.leaving && h.lease.Valid(now) {
			list = append(list, h)
		}
	}
	return list
}

// lose deletes the addresses, forgets the bindings and reports them. The caller holds ops.
func (b *Binder) lose(ctx context.Context, hs []*held, reason Reason) {
	if len(hs) == 0 {
		return
	}
	bds := make([]Binding, len(hs))
	for i, h := range hs {
		bds[i] = h.Binding
	}
	if err := b.remove(bds...); err != nil {
		klog.FromContext(ctx).Error(err, "Removing lost addresses, they expire by themselves")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range hs {
		delete(b.held, h.Addr)
		if !h.leaving {
			b.report(Event{Kind: LostEvent, Addr: h.Addr, Interface: h.Interface, Reason: reason})
		}
	}
}

// report queues an event for Run. The caller holds mu.
func (b *Binder) report(e Event) {
	b.events = append(b.events, e)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// lapse ends the bindings whose lease has. The kernel may have the addresses for another second; they are deleted at
// once. The caller holds ops.
func (b *Binder) lapse(ctx context.Context) {
	now := b.opts.Clock.Now()
	b.lose(ctx, b.choose(func(h *held) bool { return !h.lease.Valid(now) }), Expired)
}

// choose returns the bindings that match, by address.
func (b *Binder) choose(match func(*held) bool) []*held {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var list []*held
	for _, h := range b.held {
		if match(h) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(x, y *held) int { return x.Addr.Compare(y.Addr) })
	return list
}

// renew renews everything that is bound. The caller holds ops.
func (b *Binder) renew(ctx context.Context) {
	b.mu.Lock()
	for _, h := range b.held {
		h.putBacks = 0
	}
	b.mu.Unlock()
	bound := b.choose(func(h *held) bool { return h.state == Bound })
	b.complain(ctx, b.refresh(ctx, bound, b.terms, false))
}

// complain deals with what the kernel refused: an interface that has gone takes its bindings with it, anything else is
// tried again until the lease ends. The caller holds ops.
func (b *Binder) complain(ctx context.Context, refused map[*held]error) {
	logger := klog.FromContext(ctx)
	var gone []*held
	for h, err := range refused {
		if errors.Is(err, unix.ENODEV) {
			gone = append(gone, h)
			continue
		}
		logger.Error(err, "Renewing an address", "vip", h.Addr, "interface", h.Interface)
	}
	b.lose(ctx, gone, InterfaceGone)
}

// ExtendAll renews everything once with the given lifetime, under the same rules, and ends the renewals: the process
// is about to stop, and the next one will Adopt. The addresses that it could not extend are in the error. Bind fails
// with ErrStopped from here on; Unbind still works.
func (b *Binder) ExtendAll(ctx context.Context, lifetime time.Duration) error {
	terms := Terms{Lifetime: lifetime, Margin: b.terms.Margin}
	if err := terms.validate(b.opts.RenewEvery); err != nil {
		return fmt.Errorf("extending all addresses: %w", err)
	}
	b.ops.Lock()
	defer b.ops.Unlock()
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()

	all := b.choose(func(h *held) bool { return !h.leaving })
	bound := b.choose(func(h *held) bool { return !h.leaving && h.state == Bound })
	refused := b.refresh(ctx, bound, terms, false)
	now := b.opts.Clock.Now()
	var failed []error
	for _, h := range all {
		info, ok := b.Lookup(h.Addr)
		switch {
		case refused[h] != nil:
			failed = append(failed, fmt.Errorf("extending %s: %w", h.Addr, refused[h]))
		case !ok || info.Deadline < now.Add(b.terms.Lifetime):
			failed = append(failed, fmt.Errorf("extending %s: %w", h.Addr, ErrLate))
		}
	}
	return errors.Join(failed...)
}

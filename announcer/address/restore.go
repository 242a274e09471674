package address

import (
	"context"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// place is an address on an interface.
type place struct {
	addr  netip.Addr
	index int
}

// settle compares a fresh listing with the bindings: what is missing is put back where it may be, and IPv4 VIPs that
// stand before their interface's own address are moved behind it. Notifications alone don't tell: those of our own
// deletions look like everybody's. The caller holds ops.
func (b *Binder) settle(ctx context.Context) {
	b.lapse(ctx)
	noticed := b.opts.Clock.Now()
	list, err := b.kernel.Addresses()
	b.unsettled = err != nil
	if err != nil {
		klog.FromContext(ctx).Error(err, "Listing addresses after a change")
		return
	}
	b.learnOwn(list)
	present := map[place]bool{}
	for _, a := range list {
		if a.Full() {
			present[place{a.Addr(), a.Index}] = true
		}
	}
	b.suspend(ctx, noticed, present)
	b.restore(ctx)
	b.arrange(ctx, list)
}

// suspend notes which bound addresses are missing. The caller holds ops.
func (b *Binder) suspend(ctx context.Context, noticed Instant, present map[place]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, h := range b.held {
		if h.state != Bound || h.leaving || present[place{h.Addr, h.Interface}] {
			continue
		}
		h.state, h.missingSince = Suspended, noticed
		h.reason = DeletedByOther
		if h.RequireOwn && !b.ownLocked(h.Interface, h.Addr) {
			h.reason = NoNodeAddress
		}
		b.report(Event{Kind: SuspendedEvent, Addr: h.Addr, Interface: h.Interface, Reason: h.reason})
		klog.FromContext(ctx).Info("Something deleted an address", "vip", h.Addr, "interface", h.Interface, "reason", h.reason)
	}
}

// restore puts suspended addresses back where the interface has its own address again. The caller holds ops.
func (b *Binder) restore(ctx context.Context) {
	back := b.choose(func(h *held) bool {
		return h.state == Suspended && !h.leaving && h.putBacks < putBackLimit &&
			(!h.RequireOwn || b.ownLocked(h.Interface, h.Addr))
	})
	if len(back) == 0 {
		return
	}
	refused := b.refresh(ctx, back, b.terms, false)
	now := b.opts.Clock.Now()
	logger := klog.FromContext(ctx)
	var gone []*held
	b.mu.Lock()
	for _, h := range back {
		h.putBacks++
		err := refused[h]
		switch {
		case errors.Is(err, unix.ENODEV):
			gone = append(gone, h)
		case err != nil:
			logger.Error(err, "Putting an address back", "vip", h.Addr, "interface", h.Interface)
			if h.reason != Refused {
				h.reason = Refused
				b.report(Event{Kind: SuspendedEvent, Addr: h.Addr, Interface: h.Interface, Reason: Refused})
			}
		case h.state == Bound:
			took := now.Sub(h.missingSince)
			b.report(Event{Kind: RestoredEvent, Addr: h.Addr, Interface: h.Interface, Took: took})
			logger.Info("Put an address back", "vip", h.Addr, "interface", h.Interface, "took", took)
		}
	}
	b.mu.Unlock()
	b.lose(ctx, gone, InterfaceGone)
}

// arrange moves IPv4 VIPs behind their interface's first own address. IPv6 has no such order, see the package's
// documentation. The caller holds ops.
func (b *Binder) arrange(ctx context.Context, list []rtnl.Address) {
	ahead := map[int][]*held{}
	var wrong []*held
	done := map[int]bool{}
	b.mu.RLock()
	for _, a := range list {
		if !a.Addr().Is4() || done[a.Index] {
			continue
		}
		if h, ok := b.held[a.Addr()]; ok && h.Interface == a.Index && a.Full() {
			if h.state == Bound {
				ahead[a.Index] = append(ahead[a.Index], h)
			}
			continue
		}
		if Own(a) {
			wrong = append(wrong, ahead[a.Index]...)
			done[a.Index] = true
		}
	}
	b.mu.RUnlock()
	if len(wrong) == 0 {
		return
	}
	klog.FromContext(ctx).Info("Moving addresses behind the interface's own", "count", len(wrong))
	b.complain(ctx, b.refresh(ctx, wrong, b.terms, true))
}

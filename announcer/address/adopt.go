package address

import (
	"context"
	"fmt"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// Adopt takes over the addresses that a process before has left, as its state file names them, and renews them at
// once. It must be called before Bind. Those that are missing are reported and not bound: whoever wants them must
// probe first. One that is there but may expire at any moment counts as missing and is left to expire, so that a Bind
// within that second is without a break.
func (b *Binder) Adopt(ctx context.Context, bds []Binding) (Adoption, error) {
	b.ops.Lock()
	defer b.ops.Unlock()
	now := b.opts.Clock.Now()
	list, err := b.kernel.Addresses()
	if err != nil {
		return Adoption{}, fmt.Errorf("adopting addresses: %w", err)
	}
	remaining := map[place]uint32{}
	for _, a := range list {
		if a.Full() && Ours(a) {
			remaining[place{a.Addr(), a.Index}] = a.Valid
		}
	}
	b.mu.Lock()
	var found []*held
	for _, bd := range bds {
		if _, ok := b.held[bd.Addr]; ok || check(bd.Addr) != nil {
			continue
		}
		if lease := Inherited(now, remaining[place{bd.Addr, bd.Interface}]); lease.Valid(now) {
			h := &held{Binding: bd, lease: lease, state: Bound}
			b.held[bd.Addr] = h
			found = append(found, h)
		}
	}
	b.mu.Unlock()

	refused := b.refresh(ctx, found, b.terms, false)
	b.lapse(ctx)
	b.complain(ctx, refused)
	b.mu.Lock()
	// What was lost in here is reported as missing.
	b.events = nil
	b.mu.Unlock()
	var ad Adoption
	for _, bd := range bds {
		if b.Held(bd.Addr) {
			ad.Adopted = append(ad.Adopted, bd.Addr)
		} else {
			ad.Missing = append(ad.Missing, bd.Addr)
		}
	}
	return ad, nil
}

// Leftovers lists the announcers' addresses on all interfaces that this Binder doesn't hold there.
func (b *Binder) Leftovers(context.Context) ([]Leftover, error) {
	list, err := b.kernel.Addresses()
	if err != nil {
		return nil, fmt.Errorf("looking for leftover addresses: %w", err)
	}
	links, err := b.kernel.Links()
	if err != nil {
		return nil, fmt.Errorf("looking for leftover addresses: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	var left []Leftover
	for _, a := range list {
		if !a.Full() || !Ours(a) {
			continue
		}
		if h, ok := b.held[a.Addr()]; ok && h.Interface == a.Index {
			continue
		}
		left = append(left, Leftover{Addr: a.Addr(), Interface: a.Index, Name: names[a.Index], Marked: Marked(a)})
	}
	return left, nil
}

// RemoveLeftover deletes a leftover address, unless it has been bound in the meantime.
func (b *Binder) RemoveLeftover(_ context.Context, l Leftover) error {
	b.ops.Lock()
	defer b.ops.Unlock()
	if info, ok := b.Lookup(l.Addr); ok && info.Interface == l.Interface {
		return nil
	}
	return b.remove(Binding{Addr: l.Addr, Interface: l.Interface})
}

var (
	_ kernel  = (*rtnl.Conn)(nil)
	_ monitor = (*rtnl.Monitor)(nil)
)

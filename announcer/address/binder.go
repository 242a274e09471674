package address

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// kernel is what a Binder needs of the kernel; *rtnl.Conn outside tests.
type kernel interface {
	// Apply processes at most rtnl.BatchSize requests, see rtnl.Conn.Apply.
	Apply([]rtnl.Request) ([]error, error)
	// Addresses lists all addresses, per interface in the kernel's order.
	Addresses() ([]rtnl.Address, error)
	// Links lists all interfaces.
	Links() ([]rtnl.Link, error)
	Close() error
}

// monitor tells of changes; *rtnl.Monitor outside tests.
type monitor interface {
	Read(context.Context) ([]rtnl.Event, error)
	Close() error
}

// Binder binds VIPs, renews them while Run runs, puts back what others delete and reports what is lost. Its methods
// may be called concurrently.
type Binder struct {
	opts    Options
	terms   Terms
	kernel  kernel
	monitor monitor
	// wake has Run deliver events that another goroutine caused.
	wake chan struct{}

	// ops is held during everything that changes addresses, so that no renewal of an address overtakes its deletion.
	// It is taken before mu and may be held as long as the kernel takes.
	ops sync.Mutex
	// nextRenewal is when Run renews all bindings; guarded by ops.
	nextRenewal Instant
	// unsettled asks for a listing at the next step, because the last one failed; guarded by ops.
	unsettled bool

	// mu guards the rest and is never held during a call to the kernel: Held must not wait for it.
	mu      sync.RWMutex
	held    map[netip.Addr]*held
	own     map[int]map[netip.Prefix]struct{}
	stopped bool
	events  []Event
}

// held is one binding. Its fields are guarded by Binder.mu and written only with Binder.ops held as well, but for
// leaving.
type held struct {
	Binding
	lease  Lease
	state  State
	reason Reason
	// missingSince is when the deletion was noticed, while suspended.
	missingSince Instant
	// putBacks counts restorations since the last renewal.
	putBacks int
	// leaving is set by Unbind before it waits for ops.
	leaving bool
}

// New subscribes to the kernel's notifications and lists the addresses that are there. Nothing is bound or renewed
// before Adopt and Bind, nothing is renewed but by Run.
func New(opts Options) (*Binder, error) {
	conn, err := rtnl.Dial(opts.NetNS)
	if err != nil {
		return nil, err
	}
	// Subscribed before listing, so that nothing falls between the two.
	mon, err := rtnl.NewMonitor(opts.NetNS)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	b, err := newBinder(opts, conn, mon)
	if err != nil {
		return nil, errors.Join(err, mon.Close(), conn.Close())
	}
	return b, nil
}

func newBinder(opts Options, k kernel, m monitor) (*Binder, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	b := &Binder{
		opts:    opts,
		terms:   Terms{Lifetime: opts.Lifetime, Margin: opts.Margin},
		kernel:  k,
		monitor: m,
		wake:    make(chan struct{}, 1),
		held:    map[netip.Addr]*held{},
		own:     map[int]map[netip.Prefix]struct{}{},
	}
	list, err := k.Addresses()
	if err != nil {
		return nil, err
	}
	b.learnOwn(list)
	return b, nil
}

// Close ends the subscription and the connection. It must be called after Run has returned and removes no address.
func (b *Binder) Close() error {
	return errors.Join(b.monitor.Close(), b.kernel.Close())
}

// Held says whether the VIP is lawfully bound at this moment: it is on the interface as far as the kernel has told,
// and its lease has not ended. It doesn't wait for the kernel.
func (b *Binder) Held(addr netip.Addr) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, ok := b.held[addr]
	// The clock is read last: what is true must be true after the lock was got.
	return ok && !h.leaving && h.state == Bound && h.lease.Valid(b.opts.Clock.Now())
}

// Lookup describes the binding of addr.
func (b *Binder) Lookup(addr netip.Addr) (Info, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, ok := b.held[addr]
	if !ok {
		return Info{}, false
	}
	return h.info(), true
}

// Bindings describes all bindings, by address.
func (b *Binder) Bindings() []Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]Info, 0, len(b.held))
	for _, h := range b.held {
		list = append(list, h.info())
	}
	slices.SortFunc(list, func(x, y Info) int { return x.Addr.Compare(y.Addr) })
	return list
}

func (h *held) info() Info {
	return Info{Binding: h.Binding, State: h.state, Reason: h.reason, Deadline: h.lease.Deadline()}
}

// Bind puts a VIP on its interface. The caller has made sure that nobody else answers for it. Binding what is bound
// there already does nothing; one whose loss is about to be reported is refused with ErrLate.
func (b *Binder) Bind(_ context.Context, bd Binding) error {
	if err := check(bd.Addr); err != nil {
		return fmt.Errorf("binding %s: %w", bd.Addr, err)
	}
	b.ops.Lock()
	defer b.ops.Unlock()
	if done, err := b.alreadyBound(bd); done || err != nil {
		return err
	}
	if err := b.admit(bd); err != nil {
		return fmt.Errorf("binding %s on interface %d: %w", bd.Addr, bd.Interface, err)
	}
	lease, err := b.create(bd)
	if err != nil {
		return fmt.Errorf("binding %s on interface %d: %w", bd.Addr, bd.Interface, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held[bd.Addr] = &held{Binding: bd, lease: lease, state: Bound}
	return nil
}

// check refuses what can't be a VIP.
func check(addr netip.Addr) error {
	switch {
	case !addr.IsValid(), addr.Is4In6(), addr.Zone() != "":
		return errors.New("not a plain IPv4 or IPv6 address")
	case addr.IsUnspecified(), addr.IsLoopback(), addr.IsMulticast(), addr.IsLinkLocalUnicast():
		return errors.New("not a global unicast address")
	}
	return nil
}

// alreadyBound says whether there is nothing to do for bd. The caller holds ops.
func (b *Binder) alreadyBound(bd Binding) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h, ok := b.held[bd.Addr]
	switch {
	case b.stopped:
		return false, fmt.Errorf("binding %s: %w", bd.Addr, ErrStopped)
	case !ok:
		return false, nil
	case h.Interface != bd.Interface:
		return false, fmt.Errorf("binding %s on interface %d: it is bound on interface %d", bd.Addr, bd.Interface, h.Interface)
	case !h.lease.Valid(b.opts.Clock.Now()):
		return false, fmt.Errorf("binding %s: the loss of its last binding is about to be reported: %w", bd.Addr, ErrLate)
	}
	h.RequireOwn = bd.RequireOwn
	return true, nil
}

// admit checks what must be true of the interface, by a fresh listing: notifications may be on their way. The caller
// holds ops.
func (b *Binder) admit(bd Binding) error {
	list, err := b.kernel.Addresses()
	if err != nil {
		return err
	}
	b.learnOwn(list)
	own := false
	for _, a := range list {
		switch {
		case a.Index != bd.Interface:
		case a.Addr() == bd.Addr:
			// IPv4 would accept the same address a second time, with another prefix length.
			if !a.Full() || !Ours(a) {
				return ErrNotOurs
			}
		case Own(a) && a.Addr().Is4() == bd.Addr.Is4():
			own = true
		}
	}
	if bd.RequireOwn && !own {
		return ErrNoNodeAddress
	}
	return nil
}

// create sends a first request for bd. An address of ours that is still there, left by a process before, is taken
// over. The caller holds ops.
func (b *Binder) create(bd Binding) (Lease, error) {
	a := vip(bd.Addr, bd.Interface, b.terms.Lifetime)
	sent := b.opts.Clock.Now()
	err := b.one(rtnl.Request{Op: rtnl.Create, Address: a})
	if errors.Is(err, unix.EEXIST) {
		if err := b.admit(bd); err != nil {
			return Lease{}, err
		}
		sent = b.opts.Clock.Now()
		err = b.one(rtnl.Request{Op: rtnl.Replace, Address: a})
	}
	switch {
	case errors.Is(err, unix.ENODEV):
		return Lease{}, ErrNoInterface
	case err != nil:
		return Lease{}, err
	}
	lease, verdict := b.terms.Grant(sent, b.opts.Clock.Now())
	if verdict == Late {
		return Lease{}, errors.Join(ErrLate, b.remove(bd))
	}
	return lease, nil
}

// Unbind takes VIPs off their interfaces; what isn't bound is ignored. From its call on Held is false for them. They
// are forgotten even if the kernel refuses, and then expire.
func (b *Binder) Unbind(_ context.Context, addrs ...netip.Addr) error {
	b.mu.Lock()
	for _, addr := range addrs {
		if h, ok := b.held[addr]; ok {
			h.leaving = true
		}
	}
	b.mu.Unlock()

	b.ops.Lock()
	defer b.ops.Unlock()
	var gone []Binding
	b.mu.Lock()
	for _, addr := range addrs {
		if h, ok := b.held[addr]; ok {
			delete(b.held, addr)
			gone = append(gone, h.Binding)
		}
	}
	b.mu.Unlock()
	return b.remove(gone...)
}

// one applies a single request.
func (b *Binder) one(r rtnl.Request) error {
	errs, err := b.kernel.Apply([]rtnl.Request{r})
	if err != nil {
		return err
	}
	return errs[0]
}

// remove deletes addresses; that one isn't there, or its interface isn't, is no error. The caller holds ops.
func (b *Binder) remove(bds ...Binding) error {
	var failed []error
	for chunk := range slices.Chunk(bds, rtnl.BatchSize) {
		reqs := make([]rtnl.Request, len(chunk))
		for i, bd := range chunk {
			reqs[i] = rtnl.Request{Op: rtnl.Delete, Address: vip(bd.Addr, bd.Interface, 0)}
		}
		errs, err := b.kernel.Apply(reqs)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for i, err := range errs {
			if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
				failed = append(failed, fmt.Errorf("removing %s from interface %d: %w", chunk[i].Addr, chunk[i].Interface, err))
			}
		}
	}
	return errors.Join(failed...)
}

// learnOwn adds the own addresses of a listing to what is known. It takes none away: only a notification proves
// that an address has gone.
func (b *Binder) learnOwn(list []rtnl.Address) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range list {
		b.addOwn(a)
	}
}

// addOwn records a if it is an own address, and says whether it was unknown. The caller holds mu.
func (b *Binder) addOwn(a rtnl.Address) bool {
	if !Own(a) {
		return false
	}
	if h, ok := b.held[a.Addr()]; ok && h.Interface == a.Index {
		return false
	}
	set := b.own[a.Index]
	if set == nil {
		set = map[netip.Prefix]struct{}{}
		b.own[a.Index] = set
	}
	_, known := set[a.Prefix]
	set[a.Prefix] = struct{}{}
	return !known
}

// ownLocked says whether the interface has an own address of addr's family. The caller holds mu.
func (b *Binder) ownLocked(index int, addr netip.Addr) bool {
	for p := range b.own[index] {
		if p.Addr().Is4() == addr.Is4() {
			return true
		}
	}
	return false
}

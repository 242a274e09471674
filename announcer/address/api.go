package address

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Errors that callers tell apart.
var (
	// ErrNoNodeAddress says that the interface has no own address of the VIP's family, which the binding requires.
	ErrNoNodeAddress = errors.New("the interface has no address of its own in this family")
	// ErrNotOurs says that the interface has the address already and that no announcer bound it.
	ErrNotOurs = errors.New("the address is configured on the interface and isn't an announcer's")
	// ErrLate says that the kernel's answer took longer than the lease lasts; the address has been deleted.
	ErrLate = errors.New("the kernel's answer came after the end of the lease")
	// ErrStopped says that ExtendAll has been called.
	ErrStopped = errors.New("the binder has stopped")
	// ErrNoInterface says that there is no interface with the binding's index.
	ErrNoInterface = errors.New("no such interface")
)

// Binding is a VIP on an interface.
type Binding struct {
	Addr netip.Addr
	// Interface is the interface's index.
	Interface int
	// RequireOwn binds and restores the VIP only while the interface has an own global address of the same family.
	RequireOwn bool
}

// State of a binding.
type State string

const (
	// Bound means that the address is on the interface, as far as the kernel has told.
	Bound State = "Bound"
	// Suspended means that somebody removed the address and that it will be put back while its lease lasts.
	Suspended State = "Suspended"
)

// Reason says why a binding was lost or suspended.
type Reason string

const (
	// Expired: the lease ended without a renewal in time.
	Expired Reason = "Expired"
	// LateRenewal: a renewal was acknowledged after the end of the lease, and the address deleted.
	LateRenewal Reason = "LateRenewal"
	// InterfaceGone: the interface was deleted.
	InterfaceGone Reason = "InterfaceGone"
	// NoNodeAddress: the address was deleted and the interface's own address is not there.
	NoNodeAddress Reason = "NoNodeAddress"
	// DeletedByOther: something else on the node deleted the address.
	DeletedByOther Reason = "DeletedByOther"
	// Refused: the kernel refused to put the address back; it is tried again.
	Refused Reason = "Refused"
)

// EventKind is what an Event reports.
type EventKind string

const (
	// LostEvent: the binding has ended, the Binder has forgotten it and the address is off the interface. Whoever
	// wants it back must probe and Bind again.
	LostEvent EventKind = "Lost"
	// SuspendedEvent: the address is off the interface for now.
	SuspendedEvent EventKind = "Suspended"
	// RestoredEvent: the address has been put back.
	RestoredEvent EventKind = "Restored"
)

// Event is a change that the Binder's user did not ask for.
type Event struct {
	Kind   EventKind
	Addr   netip.Addr
	Reason Reason
	// Interface is the interface's index.
	Interface int
	// Took is, for RestoredEvent, the time from when the deletion was noticed.
	Took time.Duration
}

// Info describes a binding.
type Info struct {
	Binding
	State State
	// Reason is set while suspended.
	Reason Reason
	// Deadline is the end of the lease.
	Deadline Instant
}

// Adoption is the outcome of Adopt.
type Adoption struct {
	// Adopted addresses are bound, renewed and ours without a break.
	Adopted []netip.Addr
	// Missing addresses were not on their interface, or not for long enough to be certain.
	Missing []netip.Addr
}

// Leftover is an address of an announcer that this Binder doesn't hold.
type Leftover struct {
	Addr      netip.Addr
	Interface int
	// Name is the interface's name, empty if it has just gone.
	Name string
	// Marked says that the address carries our mark. Without it only the address's shape says that it is ours, and it
	// should be removed only if the state file names it, too.
	Marked bool
}

// Options configure a Binder.
type Options struct {
	// Lifetime of addresses; DefaultLifetime if zero. Whole seconds.
	Lifetime time.Duration
	// Margin before the end of the lifetime; DefaultMargin if zero, which is also the least.
	Margin time.Duration
	// RenewEvery is the interval of renewals; DefaultRenewEvery if zero.
	RenewEvery time.Duration
	// Clock tells the time; BootClock if nil.
	Clock Clock
	// BeforeRenewal, if set, is called between the check of the leases and the request that relies on it. It exists
	// to inject a stall there; see StallHook.
	BeforeRenewal func()
	// Notify, if set, is told of events, in order and only by the goroutine of Run, which holds no lock then: it may
	// call the Binder, and must not block.
	Notify func(Event)
	// NetNS is the file descriptor of a network namespace, 0 for the caller's.
	NetNS int
}

func (o *Options) complete() error {
	if o.Lifetime == 0 {
		o.Lifetime = DefaultLifetime
	}
	if o.Margin == 0 {
		o.Margin = DefaultMargin
	}
	if o.RenewEvery == 0 {
		o.RenewEvery = DefaultRenewEvery
	}
	if o.Clock == nil {
		o.Clock = BootClock()
	}
	if o.BeforeRenewal == nil {
		o.BeforeRenewal = func() {}
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	if err := (Terms{o.Lifetime, o.Margin}).validate(o.RenewEvery); err != nil {
		return fmt.Errorf("checking the lease's terms: %w", err)
	}
	return nil
}

package address

import (
	"fmt"
	"time"
)

const (
	// DefaultLifetime is how long an address outlives its last renewal.
	DefaultLifetime = 6 * time.Second
	// DefaultMargin is how long before the kernel's own deadline a lease ends. It covers the kernel's granularity: its
	// expiry work rounds to jiffies and to a quarter of a second (include/net/addrconf.h, ADDRCONF_TIMER_FUZZ).
	DefaultMargin = time.Second
	// DefaultRenewEvery leaves two more tries within the default lease.
	DefaultRenewEvery = 2 * time.Second
)

// Terms are the conditions of a lease.
type Terms struct {
	// Lifetime is the valid lifetime asked of the kernel, in whole seconds.
	Lifetime time.Duration
	// Margin is how long before the end of the lifetime the lease ends.
	Margin time.Duration
}

// Lease says until when an address is provably still bound without a break. It is a value: a renewal returns a new
// one. The zero Lease has ended.
type Lease struct {
	deadline Instant
}

// Verdict is what an acknowledged request means.
type Verdict int

const (
	// Held means that the address has been ours without a break and stays so until the new lease's deadline.
	Held Verdict = iota
	// Late means that the kernel may have removed the address and the request may have re-created it: it must be
	// deleted at once and counts as lost.
	Late
)

// Grant is the lease of a first binding, or of one after a loss: sent was read before the request, acked after its
// answer. There is nothing that the request could have revived, but if the answer took longer than the lease lasts
// the address may be gone again.
func (t Terms) Grant(sent, acked Instant) (Lease, Verdict) {
	// The kernel counts from when it processed the request, which is not before sent.
	l := Lease{deadline: sent.Add(t.Lifetime - t.Margin)}
	if !l.Valid(acked) {
		return Lease{}, Late
	}
	return l, Held
}

// Valid says whether the address is still provably ours at now: announcements, renewals and restorations are allowed.
func (l Lease) Valid(now Instant) bool { return now < l.deadline }

// Deadline is the end of the lease.
func (l Lease) Deadline() Instant { return l.deadline }

// Renewed is the lease after a renewal, a restoration or a change of order that was sent under l. The terms are those
// that the request carried.
func (l Lease) Renewed(t Terms, sent, acked Instant) (Lease, Verdict) {
	if !l.Valid(acked) {
		return Lease{}, Late
	}
	return t.Grant(sent, acked)
}

// Inherited is the lease of an address found in the kernel, of which remaining seconds of lifetime are reported at
// now. The kernel rounds up, so that the address may live almost a second less; that second and its timers' fuzz are
// the margin here.
func Inherited(now Instant, remaining uint32) Lease {
	const fuzz = 100 * time.Millisecond
	if remaining <= 1 {
		return Lease{}
	}
	return Lease{deadline: now.Add(time.Duration(remaining-1)*time.Second - fuzz)}
}

func (t Terms) validate(renewEvery time.Duration) error {
	switch {
	case t.Lifetime%time.Second != 0:
		return fmt.Errorf("lifetime %s is not in whole seconds", t.Lifetime)
	case t.Margin < DefaultMargin:
		return fmt.Errorf("margin %s is below the kernel's granularity of %s", t.Margin, DefaultMargin)
	case renewEvery <= 0:
		return fmt.Errorf("renewal interval %s is not positive", renewEvery)
	case t.Lifetime-t.Margin <= renewEvery:
		return fmt.Errorf("lifetime %s less margin %s leaves no time for renewals every %s", t.Lifetime, t.Margin, renewEvery)
	}
	return nil
}

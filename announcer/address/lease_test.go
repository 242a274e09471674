package address

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

const sec = Instant(time.Second)

var testTerms = Terms{Lifetime: DefaultLifetime, Margin: DefaultMargin}

func TestLeaseEndsAMarginBeforeTheKernelsOwnDeadline(t *testing.T) {
	lease, verdict := testTerms.Grant(10*sec, 10*sec+1)
	if verdict != Held {
		t.Fatalf("Grant() = %v, want Held", verdict)
	}
	for _, tt := range []struct {
		name string
		now  Instant
		want bool
	}{
		{"at once", 10 * sec, true},
		{"just before lifetime less margin", 15*sec - 1, true},
		{"at lifetime less margin", 15 * sec, false},
		{"after the lifetime", 17 * sec, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := lease.Valid(tt.now); got != tt.want {
				t.Errorf("Valid(%v) = %v, want %v", tt.now, got, tt.want)
			}
		})
	}
	if (Lease{}).Valid(1) {
		t.Error("the zero lease is valid")
	}
}

func TestRenewalVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name        string
		sent, acked Instant
		want        Verdict
		deadline    Instant
	}{
		{"in time counts from when it was sent", 2 * sec, 2*sec + 1, Held, 7 * sec},
		{"acknowledged just in time", 2 * sec, 5*sec - 1, Held, 7 * sec},
		{"sent in time and acknowledged late", 2 * sec, 5 * sec, Late, 0},
		{"stalled for long between check and answer", 2 * sec, 60 * sec, Late, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lease, _ := testTerms.Grant(0, 0)
			got, verdict := lease.Renewed(testTerms, tt.sent, tt.acked)
			if verdict != tt.want || got.Deadline() != tt.deadline {
				t.Errorf("Renewed() = %v until %v, want %v until %v", verdict, got.Deadline(), tt.want, tt.deadline)
			}
		})
	}
	if _, verdict := testTerms.Grant(0, 5*sec); verdict != Late {
		t.Error("a first binding that took longer than its lease is held")
	}
}

func TestInheritedLeaseTrustsOnlyWholeSeconds(t *testing.T) {
	for _, tt := range []struct {
		name      string
		remaining uint32
		want      Instant
	}{
		{"nothing left", 0, 0},
		{"less than a second left", 1, 0},
		{"two seconds are at least one", 2, 100*sec + sec - sec/10},
		{"an upgrade's hundred seconds", 100, 100*sec + 99*sec - sec/10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Inherited(100*sec, tt.remaining).Deadline(); got != tt.want {
				t.Errorf("Inherited() ends at %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTermsThatCantHoldAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		terms Terms
		every time.Duration
	}{
		{"a fraction of a second", Terms{2500 * time.Millisecond, time.Second}, time.Second},
		{"a margin below the kernel's granularity", Terms{6 * time.Second, 100 * time.Millisecond}, time.Second},
		{"no time left for a renewal", Terms{3 * time.Second, time.Second}, 2 * time.Second},
		{"no renewals", Terms{6 * time.Second, time.Second}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.terms.validate(tt.every) == nil {
				t.Error("accepted")
			}
		})
	}
	if err := testTerms.validate(DefaultRenewEvery); err != nil {
		t.Error("the defaults are refused:", err)
	}
}

// simKernel removes an address at some moment from expiry-fuzz on, and creates it again when asked to renew it.
type simKernel struct {
	expiry Instant
	born   Instant
	gone   bool
}

// renew processes a request at now.
func (k *simKernel) renew(now Instant, lifetime time.Duration, fuzz Instant) {
	k.advance(now, fuzz)
	if k.gone {
		k.gone, k.born = false, now
	}
	k.expiry = now.Add(lifetime)
}

// advance expires the address, as early as the kernel ever does (ADDRCONF_TIMER_FUZZ_MINUS, here up to 250 ms).
func (k *simKernel) advance(now, fuzz Instant) {
	if !k.gone && now >= k.expiry-fuzz {
		k.gone = true
	}
}

func TestHeldMeansThatTheAddressWasNeverRemoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := Terms{
			Lifetime: time.Duration(rapid.IntRange(3, 120).Draw(t, "lifetime")) * time.Second,
			Margin:   time.Second,
		}
		pause := func(what string) Instant {
			if rapid.IntRange(0, 4).Draw(t, what+" is long") == 0 {
				return Instant(rapid.Int64Range(0, int64(3*terms.Lifetime)).Draw(t, what))
			}
			return Instant(rapid.Int64Range(0, int64(50*time.Millisecond)).Draw(t, what))
		}
		fuzz := func() Instant { return Instant(rapid.Int64Range(0, int64(250*time.Millisecond)).Draw(t, "fuzz")) }

		now := Instant(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start"))
		k := simKernel{gone: true}
		sent := now
		now += pause("before first")
		k.renew(now, terms.Lifetime, fuzz())
		born := k.born
		now += pause("after first")
		lease, verdict := terms.Grant(sent, now)
		for range rapid.IntRange(1, 20).Draw(t, "renewals") {
			k.advance(now, fuzz())
			if verdict == Late {
				return // deleted and lost: nothing is claimed any more
			}
			if lease.Valid(now) && (k.gone || k.born != born) {
				t.Fatalf("held at %v, but the kernel removed the address", now)
			}
			now += pause("between renewals")
			if !lease.Valid(now) {
				return // lapsed: nothing is sent any more
			}
			checked := now
			now += pause("between check and request")
			k.renew(now, terms.Lifetime, fuzz())
			now += pause("between request and answer")
			lease, verdict = lease.Renewed(terms, checked, now)
			if verdict == Held && k.born != born {
				t.Fatalf("a renewal that re-created the address at %v was taken for one", k.born)
			}
		}
	})
}

package address

import (
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a point in time: the time since boot, suspension included (CLOCK_BOOTTIME). It never jumps when somebody
// sets the clock, and unlike CLOCK_MONOTONIC it counts the time a suspended machine was absent from the segment.
type Instant time.Duration

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Clock tells the time.
type Clock interface {
	Now() Instant
}

// BootClock is the machine's CLOCK_BOOTTIME.
func BootClock() Clock { return bootClock{} }

type bootClock struct{}

// Now implements Clock.
func (bootClock) Now() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// The kernel has had this clock since 2.6.39; without it no lease could ever be trusted.
		panic("reading CLOCK_BOOTTIME: " + err.Error())
	}
	return Instant(ts.Nano())
}

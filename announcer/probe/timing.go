package probe

import (
	"fmt"
	"time"
)

// Timing is how patiently an address is probed for.
type Timing struct {
	// Delay is the longest random wait before the first probe (PROBE_WAIT).
	Delay time.Duration
	// Count is the number of probes (PROBE_NUM).
	Count int
	// IntervalMin and IntervalMax bound the random time between two probes
	// (PROBE_MIN, PROBE_MAX).
	IntervalMin, IntervalMax time.Duration
	// Wait is the silence after the last probe that makes the address free
	// (ANNOUNCE_WAIT).
	Wait time.Duration
	// Control is how long a machine that answered has to answer for the
	// control addresses too before it is taken for an owner.
	Control time.Duration
	// Late is how long after the verdict a late answer is waited for.
	Late time.Duration
}

// Quick returns probes at 0, 4 and 8 ms and a verdict at 12 ms; later answers
// are watched for during 5 s. A machine on the same segment answers within a
// millisecond or two unless it sleeps, and a new VIP waits for all of this.
func Quick() Timing {
	return Timing{
		Count:       3,
		IntervalMin: 4 * time.Millisecond, IntervalMax: 4 * time.Millisecond,
		Wait:    4 * time.Millisecond,
		Control: 300 * time.Millisecond,
		Late:    5 * time.Second,
	}
}

// RFC5227 returns the timing of RFC 5227 section 1.1: 4 to 7 s.
func RFC5227() Timing {
	return Timing{
		Delay:       time.Second,
		Count:       3,
		IntervalMin: time.Second, IntervalMax: 2 * time.Second,
		Wait:    2 * time.Second,
		Control: time.Second,
		Late:    5 * time.Second,
	}
}

func (t Timing) validate() error {
	switch {
	case t.Count < 1:
		return fmt.Errorf("timing a probe: %d probes, want at least 1", t.Count)
	case t.Delay < 0 || t.Wait < 0 || t.Control < 0 || t.Late < 0:
		return fmt.Errorf("timing a probe: negative duration in %+v", t)
	case t.IntervalMin < 0 || t.IntervalMax < t.IntervalMin:
		return fmt.Errorf("timing a probe: interval from %v to %v", t.IntervalMin, t.IntervalMax)
	}
	return nil
}

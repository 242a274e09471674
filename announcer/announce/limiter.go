package announce

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Limiter is a token bucket for frames, shared by everything on the node that
// sends ARP or neighbour discovery: in any span of time d it lets pass at most
// burst + rate × d frames. It is safe for concurrent use.
type Limiter struct {
	clock clock.Clock
	// each is the time that one frame costs.
	each time.Duration
	// depth is burst × each.
	depth time.Duration

	mu sync.Mutex
	// until is when the bucket will be full again (the theoretical arrival
	// time of the generic cell rate algorithm).
	until time.Time
}

// NewLimiter returns a full bucket of burst frames that refills with rate
// frames per second. A nil clock is the real one.
func NewLimiter(rate, burst int, clk clock.Clock) (*Limiter, error) {
	if rate < 1 || burst < 2 {
		return nil, fmt.Errorf("limiting to %d frames/s and bursts of %d: want at least 1 and, for both forms of an ARP announcement, 2", rate, burst)
	}
	if clk == nil {
		clk = clock.RealClock{}
	}
	// Rounded up, so that the rate is never above what was asked for.
	each := (time.Second + time.Duration(rate) - 1) / time.Duration(rate)
	return &Limiter{clock: clk, each: each, depth: each * time.Duration(burst)}, nil
}

// Take takes n frames if at least keep more frames remain afterwards, and
// otherwise none: wait is then the time until it can succeed, if nobody else
// takes any. More than the burst is taken for the burst, and keep never makes
// a request impossible.
func (l *Limiter) Take(n, keep int) (ok bool, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	cost := min(l.each*time.Duration(n), l.depth)
	limit := max(l.depth-l.each*time.Duration(keep), cost)
	start := now
	if l.until.After(now) {
		start = l.until
	}
	if over := start.Add(cost).Sub(now) - limit; over > 0 {
		return false, over
	}
	l.until = start.Add(cost)
	return true, 0
}

// Burst returns how many frames a full bucket holds.
func (l *Limiter) Burst() int { return int(l.depth / l.each) }

// Wait blocks until it has taken n frames, with nothing kept back, or until
// ctx is done.
func (l *Limiter) Wait(ctx context.Context, n int) error {
	for {
		ok, wait := l.Take(n, 0)
		if ok {
			return nil
		}
		t := l.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C():
		}
	}
}

package rebalance

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is what this process has used, so that a busy machine doesn't matter.
func processorTime(t *testing.T) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// TestPlanningFor5000VIPsOn1000Nodes prints what a plan costs; memory is all that was allocated, also what was freed again.
func TestPlanningFor5000VIPsOn1000Nodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	for _, size := range sizes {
		s := size.build()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := processorTime(t)
		p := Plan(s)
		took := processorTime(t) - start
		runtime.ReadMemStats(&after)
		megabytes := (after.TotalAlloc - before.TotalAlloc) >> 20
		swaps := 0
		for _, m := range p.Moves {
			if m.Swap {
				swaps++
			}
		}
		t.Logf("%-45s %5d moves, %4d swaps, %3d areas, spread %4d -> %2d, %6d ms, %4d MB", size.name, len(p.Moves), swaps, len(p.Areas),
			p.Before.Spread(), p.After.Spread(), took.Milliseconds(), megabytes)
		if megabytes > 200 {
			t.Errorf("%s: %d MB, want at most 200", size.name, megabytes)
		}
		if took > 10*time.Second { // far more than it takes, but for the race detector
			t.Errorf("%s: it took %v", size.name, took)
		}
	}
}

package rebalance

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is what this process has used, so that a busy machine doesn't matter.
func processorTime(tb testing.TB) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// figures are what a plan does and costs.
type figures struct {
	moves, swaps, areas int
	before, after       int64 // spreads
	took                time.Duration
	megabytes           uint64 // all that was allocated, also what was freed again
}

func measure(tb testing.TB, s Snapshot) figures {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := processorTime(tb)
	p := Plan(s)
	f := figures{moves: len(p.Moves), areas: len(p.Areas), before: p.Before.Spread(), after: p.After.Spread(), took: processorTime(tb) - start}
	runtime.ReadMemStats(&after)
	f.megabytes = (after.TotalAlloc - before.TotalAlloc) >> 20
	for _, m := range p.Moves {
		if m.Swap {
			f.swaps++
		}
	}
	return f
}

// TestPlanningFor5000VIPsOn1000Nodes bounds and, with -v, prints what a plan costs, for three cases: the usual one, one in which VIPs
// differ in what they are allowed, and one in which they differ in weight. BenchmarkPlan has the figures of all.
func TestPlanningFor5000VIPsOn1000Nodes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	tested := map[string]bool{"half of the nodes joined": true, "every VIP has its own 20 nodes": true, "weights of 1 to 10": true}
	for _, size := range sizes {
		if !tested[size.name] {
			continue
		}
		delete(tested, size.name)
		f := measure(t, size.build())
		t.Logf("%-45s %5d moves, %4d swaps, %3d areas, spread %4d -> %2d, %6d ms, %4d MB",
			size.name, f.moves, f.swaps, f.areas, f.before, f.after, f.took.Milliseconds(), f.megabytes)
		if f.megabytes > 200 {
			t.Errorf("%s: %d MB, want at most 200", size.name, f.megabytes)
		}
		if f.took > 10*time.Second { // far more than it takes, but for the race detector
			t.Errorf("%s: it took %v", size.name, f.took)
		}
	}
	if len(tested) > 0 {
		t.Errorf("there are no such cases: %v", tested)
	}
}

// BenchmarkPlan prints what a plan does and costs, for every case:
//
//	go test -run '^$' -bench Plan -benchtime 1x ./controller/rebalance
func BenchmarkPlan(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			s := size.build()
			var f figures
			for b.Loop() {
				f = measure(b, s)
			}
			b.ReportMetric(float64(f.moves), "moves")
			b.ReportMetric(float64(f.swaps), "swaps")
			b.ReportMetric(float64(f.areas), "areas")
			b.ReportMetric(float64(f.before), "spread-before")
			b.ReportMetric(float64(f.after), "spread-after")
			b.ReportMetric(float64(f.took.Milliseconds()), "cpu-ms")
			b.ReportMetric(float64(f.megabytes), "MB")
		})
	}
}

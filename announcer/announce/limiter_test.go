package announce

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestTheLimiterKeepsFramesBackForOthers(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
	l, err := NewLimiter(10, 10, clk)
	if err != nil {
		t.Fatal(err)
	}
	take := func(n, keep int, want bool, wait time.Duration) {
		t.Helper()
		if ok, w := l.Take(n, keep); ok != want || w != wait {
			t.Errorf("Take(%d, %d) = %t, %v, want %t, %v", n, keep, ok, w, want, wait)
		}
	}
	take(4, 5, true, 0)
	take(2, 5, false, 100*time.Millisecond) // 6 left, 5 to keep
	take(2, 4, true, 0)
	take(4, 0, true, 0)
	take(1, 0, false, 100*time.Millisecond)
	clk.Step(100 * time.Millisecond)
	take(1, 0, true, 0)
	clk.Step(time.Hour)
	take(1000, 0, true, 0) // counts as the burst
	take(1, 0, false, 100*time.Millisecond)
	clk.Step(time.Hour)
	take(10, 10, true, 0) // keeping more than there is makes nothing impossible
}

func TestWaitBlocksUntilThereAreFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := NewLimiter(10, 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for range 5 {
			if err := l.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("5 frames with a burst of 2 at 10/s took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := l.Wait(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// In any span d at most burst + rate × d frames pass, whoever asks in whatever
// order, and who waits as long as told gets what it asked for.
func TestTheLimitHoldsInEverySpan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(1, 500).Draw(t, "rate"), rapid.IntRange(2, 300).Draw(t, "burst")
		clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
		l, err := NewLimiter(rate, burst, clk)
		if err != nil {
			t.Fatal(err)
		}
		type taken struct {
			at time.Time
			n  int
		}
		var all []taken
		for range rapid.IntRange(1, 100).Draw(t, "requests") {
			clk.Step(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")))
			n, keep := rapid.IntRange(1, burst).Draw(t, "n"), rapid.IntRange(0, burst).Draw(t, "keep")
			ok, wait := l.Take(n, keep)
			if !ok {
				if wait <= 0 {
					t.Fatalf("refused without a wait")
				}
				clk.Step(wait)
				if ok, again := l.Take(n, keep); !ok {
					t.Fatalf("refused after a wait of %v, now %v", wait, again)
				}
			}
			all = append(all, taken{clk.Now(), n})
		}
		checkRate(t, rate, burst, len(all), func(i int) (time.Time, int) { return all[i].at, all[i].n })
	})
}

// checkRate fails if any span between two sends holds more frames than allowed.
func checkRate(t *rapid.T, rate, burst, count int, send func(i int) (time.Time, int)) {
	t.Helper()
	for i := range count {
		from, _ := send(i)
		frames := 0
		for j := i; j < count; j++ {
			at, n := send(j)
			frames += n
			if span := at.Sub(from); float64(frames) > float64(burst)+float64(rate)*span.Seconds()+1e-6 {
				t.Fatalf("%d frames within %v at %d/s with a burst of %d", frames, span, rate, burst)
			}
		}
	}
}

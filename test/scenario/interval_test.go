package scenario

import (
	"math/rand/v2"
	"testing"
)

func TestIntervalOf(t *testing.T) {
	upTo := func(n int) []float64 {
		values := make([]float64, n)
		for i, v := range rand.Perm(n) {
			values[i] = float64(v + 1)
		}
		return values
	}
	tests := []struct {
		name   string
		values []float64
		want   Interval
		ok     bool
	}{
		{"of 20 values the 6th and the 15th", upTo(20), Interval{20, 10.5, 6, 15}, true},
		{"of 25 values the 8th and the 18th", upTo(25), Interval{25, 13, 8, 18}, true},
		{"of 6 values all", upTo(6), Interval{6, 3.5, 1, 6}, true},
		{"equal values have an interval without width", []float64{2, 2, 2, 2, 2, 2, 2}, Interval{7, 2, 2, 2}, true},
		{"5 values are too few", upTo(5), Interval{}, false},
		{"no values are too few", nil, Interval{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := IntervalOf(tt.values)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("interval = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// TestAnIntervalHoldsTheTrueMedianAsOftenAsItSays draws from a distribution whose median is known.
func TestAnIntervalHoldsTheTrueMedianAsOftenAsItSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const rounds, median = 20000, 0.25 // of the square of what is even between 0 and 1
	held := 0
	for range rounds {
		values := make([]float64, 20)
		for i := range values {
			v := random.Float64()
			values[i] = v * v
		}
		interval, err := IntervalOf(values)
		if err != nil {
			t.Fatal(err)
		}
		if interval.Low <= median && median <= interval.High {
			held++
		}
	}
	if share := float64(held) / rounds; share < 0.955 || share > 0.963 { // 95.86 %, give or take three standard deviations
		t.Errorf("it holds the median in %.2f %% of the rounds, want 95.86 %%", 100*share)
	}
}

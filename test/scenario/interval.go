package scenario

import (
	"fmt"
	"slices"
)

// Interval is a median and an interval that covers the true one with at least 95 % probability, whatever the distribution.
type Interval struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Low    float64 `json:"low95"`
	High   float64 `json:"high95"`
}

// FewestForInterval is how many values an Interval needs: of five, all lie on one side of the median once in 16 times.
const FewestForInterval = 6

// IntervalOf returns the median of independent values. The interval's ends are values themselves: how many of n lie below the true
// median is binomially distributed with p = 1/2, so that the k-th smallest and the k-th largest enclose it unless fewer than k lie on
// one side (David and Nagaraja, Order Statistics, 3rd edition, section 7.1; Conover, Practical Nonparametric Statistics, 3rd edition,
// section 3.2). k is as large as 95 % allow: of 20 values the 6th and the 15th, with 95.9 %.
func IntervalOf(values []float64) (Interval, error) {
	n, k := len(values), orderOf(len(values))
	if n < FewestForInterval {
		return Interval{}, fmt.Errorf("an interval of 95 %% needs %d values or more, not %d", FewestForInterval, n)
	}
	sorted := slices.Sorted(slices.Values(values))
	return Interval{N: n, Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Low: sorted[k-1], High: sorted[n-k]}, nil
}

// orderOf is the largest k with P(X < k) <= 2.5 % for X of the binomial distribution of n and 1/2; 0 for too few.
func orderOf(n int) int {
	probability := 1.0 // of X = k
	for range n {
		probability /= 2
	}
	for k, below := 0, 0.0; k < n; k++ {
		if below += probability; below > 0.025 {
			return k
		}
		probability *= float64(n-k) / float64(k+1)
	}
	return 0
}

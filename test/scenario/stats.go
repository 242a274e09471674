package scenario

import (
	"slices"
	"time"
)

// Stats sums up durations, in milliseconds.
type Stats struct {
	N      int     `json:"n"`
	Median float64 `json:"medianMs"`
	P95    float64 `json:"p95Ms"`
	Max    float64 `json:"maxMs"`
}

// StatsOf sums up durations; it sorts them.
func StatsOf(all []time.Duration) Stats {
	if len(all) == 0 {
		return Stats{}
	}
	slices.Sort(all)
	at := func(i int) float64 { return float64(all[i].Microseconds()) / 1000 }
	return Stats{N: len(all), Median: at(len(all) / 2), P95: at((len(all) - 1) * 95 / 100), Max: at(len(all) - 1)}
}

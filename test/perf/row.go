package main

import (
	"slices"
)

// row is one row of the table of marks: what was measured, and whether it is within the mark.
type row struct {
	Event   string  `json:"event"`
	Profile string  `json:"profile,omitempty"`
	Size    string  `json:"size,omitempty"`
	N       int     `json:"n"`
	Median  float64 `json:"median"`
	Max     float64 `json:"max"`
	Unit    string  `json:"unit"`
	Mark    string  `json:"mark"`
	Met     bool    `json:"met"`
}

// tally collects the values of a row. Its zero value has no mark.
type tally struct {
	event, unit, mark string
	// median and longest are what is allowed at most.
	median, longest float64
	values          []float64
	// broken: something happened that no value can make good.
	broken bool
}

// atMost is a row whose largest value must not exceed a bound.
func atMost(event, unit, mark string, longest float64) *tally {
	return &tally{event: event, unit: unit, mark: mark, median: longest, longest: longest}
}

// none is a row that counts what must not be.
func none(event, unit string) *tally { return atMost(event, unit, "0", 0) }

func (t *tally) add(values ...float64) { t.values = append(t.values, values...) }

// row sums the values up.
func (t *tally) row(profile, size string) row {
	r := row{Event: t.event, Profile: profile, Size: size, N: len(t.values), Unit: t.unit, Mark: t.mark}
	if len(t.values) == 0 {
		return r
	}
	values := slices.Sorted(slices.Values(t.values))
	r.Median, r.Max = values[len(values)/2], values[len(values)-1]
	r.Met = !t.broken && r.Median <= t.median && r.Max <= t.longest
	return r
}

// tallies are the rows of one run.
type tallies []*tally

func (ts *tallies) new(t *tally) *tally {
	*ts = append(*ts, t)
	return t
}

// print writes the rows that have values.
func (ts tallies) print(p printer, profile, size string) {
	for _, t := range ts {
		if len(t.values) > 0 || t.broken {
			p("summary", t.row(profile, size))
		}
	}
}

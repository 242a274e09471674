package main

import "testing"

func TestTally(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		broken bool
		want   row
	}{
		{"nothing measured is nothing met", nil, false, row{}},
		{"within both marks", []float64{3, 1, 2}, false, row{N: 3, Median: 2, Max: 3, Met: true}},
		{"a median above its mark", []float64{3, 3, 1}, false, row{N: 3, Median: 3, Max: 3}},
		{"a value above the longest", []float64{1, 1, 5}, false, row{N: 3, Median: 1, Max: 5}},
		{"broken by something that isn't a value", []float64{1}, true, row{N: 1, Median: 1, Max: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sum := tally{median: 2, longest: 4, values: tt.values, broken: tt.broken}
			if got := sum.row("", ""); got != tt.want {
				t.Errorf("row = %+v, want %+v", got, tt.want)
			}
		})
	}
}

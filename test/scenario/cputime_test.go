package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestCPUTimeOf(t *testing.T) {
	tests := []struct {
		name string
		give string
		want time.Duration
		ok   bool
	}{
		{"idle, waiting, stolen and guests' time doesn't count", "cpu  100 10 200 9999 9999 3 40 9999 9999 9999\ncpu0 1 1 1 1 1 1 1\n", 3530 * time.Millisecond, true},
		{"one core is not all", "cpu0 100 10 200 9999 9999 3 40 0 0 0\n", 0, false},
		{"what is no number is an error", "cpu 1 2 x 4 5 6 7\n", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := cpuTimeOf(strings.NewReader(tt.give))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("CPU time = %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

package lab

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	t0 := time.Unix(1000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	ok := func(ms, rtt int) probe { return probe{sent: at(ms), answered: at(ms + rtt)} }
	lost := func(ms int) probe { return probe{sent: at(ms)} }
	tests := []struct {
		name   string
		probes []probe
		want   Report
	}{
		{name: "no probe"},
		{
			name:   "all answered",
			probes: []probe{ok(0, 1), ok(10, 3), ok(20, 1)},
			want:   Report{Sent: 3, FirstAnswer: at(1), SlowestAnswer: 3 * time.Millisecond},
		},
		{
			name:   "a pause of the prober between answered probes is no gap",
			probes: []probe{ok(0, 1), ok(500, 1)},
			want:   Report{Sent: 2, FirstAnswer: at(1), SlowestAnswer: time.Millisecond},
		},
		{
			name:   "a gap lasts until the next answered probe was sent",
			probes: []probe{ok(0, 1), lost(10), lost(20), ok(30, 1)},
			want: Report{Sent: 4, Unanswered: 2, FirstAnswer: at(1), SlowestAnswer: time.Millisecond,
				Gaps: []Gap{{From: at(10), To: at(30), Probes: 2}}},
		},
		{
			name:   "silence at the beginning and at the end",
			probes: []probe{lost(0), ok(10, 2), lost(20), lost(30)},
			want: Report{Sent: 4, Unanswered: 3, FirstAnswer: at(12), SlowestAnswer: 2 * time.Millisecond,
				Gaps: []Gap{{From: at(0), To: at(10), Probes: 1}, {From: at(20), To: at(30), Probes: 2}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, report(tt.probes)); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}

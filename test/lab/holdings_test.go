package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHoldings(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	event := func(s int, node, addr string, added, renewed bool) AddrEvent {
		return AddrEvent{Node: node, Addr: netip.MustParsePrefix(addr), Added: added, Renewed: renewed, At: at(s)}
	}
	tests := []struct {
		name   string
		events []AddrEvent
		want   []Holding
		double time.Duration
	}{
		{name: "never held", events: []AddrEvent{event(1, "a", "192.0.2.11/32", true, false)}},
		{
			name: "renewals are one holding, and the end closes it",
			events: []AddrEvent{
				event(1, "a", "192.0.2.10/32", true, false), event(3, "a", "192.0.2.10/32", true, true),
			},
			want: []Holding{{Node: "a", From: at(1), To: at(100)}},
		},
		{
			name: "a move with two seconds of both",
			events: []AddrEvent{
				event(1, "a", "192.0.2.10/32", true, false), event(5, "b", "192.0.2.10/32", true, false),
				event(7, "a", "192.0.2.10/32", false, false), event(9, "b", "192.0.2.10/32", false, false),
			},
			want:   []Holding{{Node: "a", From: at(1), To: at(7)}, {Node: "b", From: at(5), To: at(9)}},
			double: 2 * time.Second,
		},
		{
			name: "back and forth without overlap",
			events: []AddrEvent{
				event(1, "a", "192.0.2.10/32", true, false), event(2, "a", "192.0.2.10/32", false, false),
				event(2, "b", "192.0.2.10/32", true, false), event(3, "b", "192.0.2.10/32", false, false),
				event(4, "a", "192.0.2.10/32", true, false),
			},
			want: []Holding{{Node: "a", From: at(1), To: at(2)}, {Node: "b", From: at(2), To: at(3)}, {Node: "a", From: at(4), To: at(100)}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Holdings(tt.events, vip, at(100))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("holdings (-want +got):\n%s", diff)
			}
			if d := DoubleHeld(got); d != tt.double {
				t.Errorf("held by two for %s, want %s", d, tt.double)
			}
		})
	}
}

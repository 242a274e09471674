package scenario

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/test/lab"
)

func TestStalledIn(t *testing.T) {
	vip, begin := netip.MustParsePrefix("192.0.2.10/32"), time.Unix(0, 0)
	event := func(node string, added, renewed bool, ms int) lab.AddrEvent {
		return lab.AddrEvent{Node: node, Addr: vip, Added: added, Renewed: renewed, At: begin.Add(time.Duration(ms) * time.Millisecond)}
	}
	tests := []struct {
		name   string
		events []lab.AddrEvent
		want   Stalled
	}{
		{"renewals alone are no stall", []lab.AddrEvent{event("a", true, false, 0), event("a", true, true, 2000)}, Stalled{}},
		{"an address that expires and comes back after a probe was not revived",
			[]lab.AddrEvent{event("a", true, false, 0), event("a", false, false, 6000), event("a", true, false, 9000)}, Stalled{Node: "a"}},
		{"an address that a late renewal brings back and the announcer deletes was",
			[]lab.AddrEvent{event("a", true, false, 0), event("a", false, false, 6000), event("a", true, false, 9000), event("a", false, false, 9002), event("a", true, false, 9020)},
			Stalled{Node: "a", Revived: 1, StandingMs: 2}},
		{"what other nodes hold meanwhile doesn't count",
			[]lab.AddrEvent{event("a", true, false, 0), event("b", true, false, 0), event("b", false, false, 6000), event("a", true, true, 9000)}, Stalled{Node: "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, stalledIn(tt.events)); diff != "" {
				t.Errorf("stall (-want +got):\n%s", diff)
			}
		})
	}
}

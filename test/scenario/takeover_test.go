package scenario

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/test/lab"
)

var epoch = time.Unix(0, 0)

func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

func held(node string, from, to time.Time) lab.Holding {
	return lab.Holding{Node: node, From: from, To: to}
}

func TestWithout(t *testing.T) {
	tests := []struct {
		name string
		give []lab.Holding
		want []lab.Holding
	}{
		{"another node's holding stays", []lab.Holding{held("b", ms(0), ms(100))}, []lab.Holding{held("b", ms(0), ms(100))}},
		{"a holding around the time is split", []lab.Holding{held("a", ms(0), ms(100))}, []lab.Holding{held("a", ms(0), ms(20)), held("a", ms(60), ms(100))}},
		{"a holding within the time goes", []lab.Holding{held("a", ms(30), ms(50))}, nil},
		{"a holding before the time stays", []lab.Holding{held("a", ms(0), ms(20))}, []lab.Holding{held("a", ms(0), ms(20))}},
		{"a holding that reaches into the time is cut", []lab.Holding{held("a", ms(0), ms(40))}, []lab.Holding{held("a", ms(0), ms(20))}},
		{"a holding that reaches out of the time is cut", []lab.Holding{held("a", ms(40), ms(100))}, []lab.Holding{held("a", ms(60), ms(100))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, without(tt.give, "a", ms(20), ms(60))); diff != "" {
				t.Errorf("holdings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTwoOwners(t *testing.T) {
	vip := netip.MustParsePrefix("192.0.2.10/32")
	event := func(node string, added bool, at int) lab.AddrEvent {
		return lab.AddrEvent{Node: node, Addr: vip, Added: added, At: ms(at)}
	}
	tests := []struct {
		name    string
		events  []lab.AddrEvent
		longest time.Duration
		until   time.Duration
	}{
		{"one owner after the other", []lab.AddrEvent{event("a", true, 0), event("a", false, 200), event("b", true, 200)}, 0, 0},
		{"two owners before the time don't count", []lab.AddrEvent{event("a", true, 0), event("b", true, 50), event("a", false, 90)}, 0, 0},
		{"two owners at the time count from then on", []lab.AddrEvent{event("a", true, 0), event("b", true, 50), event("a", false, 130)}, 30 * time.Millisecond, 30 * time.Millisecond},
		{"two owners later", []lab.AddrEvent{event("a", true, 0), event("b", true, 150), event("a", false, 170)}, 20 * time.Millisecond, 70 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			longest, until := twoOwners(tt.events, []netip.Addr{vip.Addr()}, ms(100), ms(1000))
			if longest != tt.longest || until != tt.until {
				t.Errorf("two owners for %s, the last until %s; want %s and %s", longest, until, tt.longest, tt.until)
			}
		})
	}
}

func TestFirstElsewhere(t *testing.T) {
	mac := func(last byte) []byte { return []byte{2, 0, 0, 0, 0, last} }
	lost := []*lab.Node{{Host: &lab.Host{MAC: mac(1)}}}
	tests := []struct {
		name string
		seen []lab.Sighting
		want time.Time
	}{
		{"the lost node's last answers don't count", []lab.Sighting{{MAC: mac(1), First: ms(90)}, {MAC: mac(1), First: ms(101)}}, time.Time{}},
		{"another machine's first answer counts", []lab.Sighting{{MAC: mac(1), First: ms(90)}, {MAC: mac(2), First: ms(700)}, {MAC: mac(3), First: ms(800)}}, ms(700)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := firstElsewhere(tt.seen, lost, ms(100)); !got.Equal(tt.want) {
				t.Errorf("first answer elsewhere at %v, want %v", got, tt.want)
			}
		})
	}
}

func TestAfterLoss(t *testing.T) {
	guarded := func(active string, standbys ...string) places { return places{active: active, standbys: standbys} }
	tests := []struct {
		name  string
		found map[string]places
		want  []int
	}{
		{"standbys on both others", map[string]places{"v": guarded("a", "b"), "w": guarded("a", "c"), "x": guarded("b", "c"), "y": guarded("c", "b")}, []int{2, 2}},
		{"all standbys on one", map[string]places{"v": guarded("a", "b"), "w": guarded("a", "b"), "x": guarded("b", "c")}, []int{3, 0}},
		{"without standbys they are lost", map[string]places{"v": guarded("a"), "x": guarded("b")}, []int{1, 0}},
		{"of two standbys one takes over", map[string]places{"v": guarded("a", "b", "c")}, []int{1, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, afterLoss(tt.found, "a", []string{"b", "c"}).PerNode); diff != "" {
				t.Errorf("VIPs per node (-want +got):\n%s", diff)
			}
		})
	}
}

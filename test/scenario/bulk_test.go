package scenario

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/test/lab"
)

func TestMarksIn(t *testing.T) {
	tests := []struct {
		name    string
		payload lab.Payload
		moves   int
		want    []int64
	}{
		{"three moves at the quarters", 1000, 3, []int64{250, 500, 750}},
		{"one move in the middle", 1000, 1, []int64{500}},
		{"no move", 1000, 0, []int64{}},
		{"more moves than bytes begin at once", 2, 3, []int64{0, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, marksIn(tt.payload, tt.moves)); diff != "" {
				t.Errorf("marks (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFollowerSaysWhenMarksArePassed(t *testing.T) {
	tests := []struct {
		name  string
		marks []int64
		steps []int
		want  []int // marks passed after each step
	}{
		{"a mark is passed by its byte", []int64{100, 200}, []int{99, 1, 99, 1}, []int{0, 1, 1, 2}},
		{"one step may pass several", []int64{100, 200, 300}, []int{250, 100}, []int{2, 3}},
		{"without marks nothing is said", nil, []int{1000}, []int{0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			here, there := net.Pipe()
			defer func() { _, _ = here.Close(), there.Close() }()
			f := newFollower(slices.Clone(tt.marks))
			f.conn = here
			for i, n := range tt.steps {
				if err := f.step(n); err != nil {
					t.Fatal(err)
				}
				if got := len(f.passed); got != tt.want[i] {
					t.Errorf("%d marks are passed after step %d, want %d", got, i, tt.want[i])
				}
			}
		})
	}
}

func TestBulkCounts(t *testing.T) {
	right, wrong, cut := Transfer{Bytes: 1, Right: true}, Transfer{Bytes: 1}, Transfer{Bytes: 1, Failure: "connection reset by peer"}
	tests := []struct {
		name       string
		give       Bulk
		cut, wrong int
	}{
		{"all is well", Bulk{Before: right, During: right, After: right}, 0, 0},
		{"a content that differs", Bulk{Before: right, During: right, After: wrong}, 0, 1},
		{"a cut transfer has no content to be wrong, and none follows", Bulk{Before: right, During: cut}, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if cut, wrong := tt.give.Cut(), tt.give.Wrong(); cut != tt.cut || wrong != tt.wrong {
				t.Errorf("%d cut and %d wrong, want %d and %d", cut, wrong, tt.cut, tt.wrong)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	vip, other := netip.MustParsePrefix("192.0.2.10/32"), netip.MustParsePrefix("192.0.2.11/32")
	added := func(node string, vip netip.Prefix, renewed bool, at int) lab.AddrEvent {
		return lab.AddrEvent{Node: node, Addr: vip, Added: true, Renewed: renewed, At: ms(at)}
	}
	there := added("a", vip, false, 0)
	tests := []struct {
		name   string
		events []lab.AddrEvent
		want   int
	}{
		{"what is there from the beginning is no change", []lab.AddrEvent{there}, 0},
		{"there and back are two", []lab.AddrEvent{there, added("b", vip, false, 10), added("a", vip, false, 20)}, 2},
		{"a change that is too late doesn't count", []lab.AddrEvent{there, added("b", vip, false, 100), added("c", vip, false, 101)}, 1},
		{"a renewal is no change", []lab.AddrEvent{there, added("b", vip, true, 10)}, 0},
		{"an owner that binds it anew is none either", []lab.AddrEvent{there, added("a", vip, false, 10)}, 0},
		{"other addresses don't count", []lab.AddrEvent{there, added("b", other, false, 10)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := changes(tt.events, vip.Addr(), "a", ms(100)); got != tt.want {
				t.Errorf("%d changes, want %d", got, tt.want)
			}
		})
	}
}

package traffic

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func TestAnAverageLiesBetweenItsSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a average
		low, high := math.Inf(1), math.Inf(-1)
		for range rapid.IntRange(1, 50).Draw(t, "samples") {
			rate := rapid.Float64Range(0, 1e10).Draw(t, "rate")
			a.add(rate, time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "length")), constant)
			low, high = min(low, rate), max(high, rate)
		}
		if got := a.rate(); got < low-1e-9*high || got > high*(1+1e-9) {
			t.Fatalf("average %g of samples between %g and %g", got, low, high)
		}
	})
}

func TestAnAverageDoesNotDependOnThePaceOfSamples(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var whole, parts average
		for range rapid.IntRange(1, 10).Draw(t, "phases") {
			rate := rapid.Float64Range(0, 1e10).Draw(t, "rate")
			length := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(5*time.Minute)).Draw(t, "length"))
			whole.add(rate, length, constant)
			for n := rapid.IntRange(1, 20).Draw(t, "samples"); n > 0; n-- {
				part := length / time.Duration(n)
				parts.add(rate, part, constant)
				length -= part
			}
		}
		if a, b := whole.rate(), parts.rate(); math.Abs(a-b) > 1e-6*max(a, b) {
			t.Fatalf("average %g of whole phases, %g of their parts", a, b)
		}
	})
}

func TestAnAverageForgets(t *testing.T) {
	var a average
	if a.rate() != 0 {
		t.Error("an average of nothing isn't zero")
	}
	a.add(1000, time.Hour, constant)
	a.add(0, constant, constant)
	if got := a.rate(); math.Abs(got-1000/math.E) > 1 {
		t.Errorf("after a time constant of silence the average of 1000 is %g, want 368", got)
	}
	a.add(5, 0, constant)
	a.add(5, -time.Second, constant)
	if got := a.rate(); math.Abs(got-1000/math.E) > 1 {
		t.Errorf("samples of no length made it %g", got)
	}
}

// TestNothingIsCountedTwice: whatever the pace of readings, and however often the counters begin anew after a reading, the totals are what was
// carried until the last one.
func TestNothingIsCountedTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, now := NewMeter(), start
		m.SetVIPs([]VIP{{vip4, "a"}}, now)
		var counter, carried Counts
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			n := rapid.Uint64Range(0, 1e6).Draw(t, "packets")
			grown := Counts{Bytes: n * 100, Packets: n, Connections: n / 10}
			counter, carried = counter.plus(grown), carried.plus(grown)
			now = now.Add(time.Duration(rapid.Int64Range(1, int64(time.Minute)).Draw(t, "pause")))
			m.Count(map[netip.Addr]Counts{vip4: counter}, now)
			if rapid.Bool().Draw(t, "renewed") {
				m.Restarted()
				counter = Counts{}
			}
		}
		if got := m.Totals(); got != carried {
			t.Fatalf("counted %+v, carried %+v", got, carried)
		}
	})
}

func TestMeasuring(t *testing.T) {
	type step struct {
		vips    []VIP // nil: as before
		counts  map[netip.Addr]Counts
		restart bool
	}
	a, b := VIP{vip4, "a"}, VIP{vip6, "a"}
	c := VIP{netip.MustParseAddr("192.0.2.11"), "c"}
	counts := func(n uint64) Counts { return Counts{Bytes: 1000 * n, Packets: 10 * n, Connections: n} }
	rates := func(name string, n int64) v1alpha1.VIPTraffic {
		return v1alpha1.VIPTraffic{Name: name, BytesPerSecond: 200 * n, PacketsPerSecond: 2 * n, NewConnectionsPerSecond: n / 5}
	}
	tests := []struct {
		name  string
		steps []step // 5 s apart
		want  []v1alpha1.VIPTraffic
	}{
		{"nothing is bound", []step{{}}, nil},
		{"a VIP that carries nothing isn't named", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: {}}}}, nil},
		{"the first reading counts from the binding on", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(10)}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
		{"a steady rate", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(10)}}, {counts: map[netip.Addr]Counts{vip4: counts(20)}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
		{"both addresses of a VIP count together", []step{{vips: []VIP{a, b}}, {counts: map[netip.Addr]Counts{vip4: counts(10), vip6: counts(20)}}}, []v1alpha1.VIPTraffic{rates("a", 30)}},
		{"the busiest comes first", []step{{vips: []VIP{a, c}}, {counts: map[netip.Addr]Counts{vip4: counts(10), c.Addr: counts(20)}}}, []v1alpha1.VIPTraffic{rates("c", 20), rates("a", 10)}},
		{"counters that were renewed begin anew", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(10)}, restart: true}, {counts: map[netip.Addr]Counts{vip4: counts(10)}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
		{"so do those that became smaller", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(20)}}, {counts: map[netip.Addr]Counts{vip4: counts(40)}}, {counts: map[netip.Addr]Counts{vip4: counts(20)}}}, []v1alpha1.VIPTraffic{rates("a", 20)}},
		{"one that is missing for a while is waited for", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(10)}}, {counts: map[netip.Addr]Counts{}}, {counts: map[netip.Addr]Counts{vip4: counts(30)}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
		{"what isn't bound doesn't count", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(10), c.Addr: counts(10)}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
		{"a VIP that has left is forgotten at once", []step{{vips: []VIP{a, c}}, {counts: map[netip.Addr]Counts{vip4: counts(10), c.Addr: counts(10)}}, {vips: []VIP{c}}}, []v1alpha1.VIPTraffic{rates("c", 10)}},
		{"one that comes back begins anew", []step{{vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(100)}}, {vips: []VIP{c}}, {vips: []VIP{a}}, {counts: map[netip.Addr]Counts{vip4: counts(10)}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
		{"its name may become known later", []step{{vips: []VIP{{vip4, "x"}}}, {counts: map[netip.Addr]Counts{vip4: counts(10)}}, {vips: []VIP{a}}}, []v1alpha1.VIPTraffic{rates("a", 10)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, now := NewMeter(), start
			for _, s := range tt.steps {
				if s.vips != nil {
					m.SetVIPs(s.vips, now)
				}
				m.Count(s.counts, now)
				if s.restart {
					m.Restarted()
				}
				now = now.Add(5 * time.Second)
			}
			got := m.Status(now)
			if diff := cmp.Diff(tt.want, got.VIPs); diff != "" {
				t.Errorf("VIPs (-want +got):\n%s", diff)
			}
			var bytes int64
			for _, vip := range tt.want {
				bytes += vip.BytesPerSecond
			}
			if got.BytesPerSecond != bytes || !got.MeasuredAt.Time.Equal(now) {
				t.Errorf("%d bytes a second together as of %v, want %d as of %v", got.BytesPerSecond, got.MeasuredAt, bytes, now)
			}
		})
	}
}

func TestTheHostIsMeasured(t *testing.T) {
	m := NewMeter()
	eth := func(received, sent uint64, speed int64) []Link {
		return []Link{{Name: "eth0", Received: received, Sent: sent, SpeedMbps: speed}}
	}
	m.Links(eth(1e9, 5e9, 1000), start)
	m.CPU(CPU{Busy: 100, Total: 1000}, start)
	if got := m.Status(start); got.CPUPermille != 0 || got.Interfaces[0].BytesPerSecond != 0 {
		t.Errorf("measured %+v of a single reading", got)
	}
	m.Links(eth(1e9+125e6, 5e9+250e6, 1000), after(10))
	m.CPU(CPU{Busy: 350, Total: 2000}, after(10))
	want := []v1alpha1.InterfaceTraffic{{Name: "eth0", BytesPerSecond: 25e6, UtilizationPermille: ptr.To[int32](200)}}
	if got := m.Status(after(10)); !cmp.Equal(want, got.Interfaces) || got.CPUPermille != 250 {
		t.Errorf("measured %+v, want %+v and 250 permille", got, want)
	}
	m.CPU(CPU{Busy: 340, Total: 1990}, after(20)) // back a little, as idle times may be
	m.Links(eth(0, 250e6, 0), after(20))          // the NIC was made anew
	want = []v1alpha1.InterfaceTraffic{{Name: "eth0", BytesPerSecond: 25e6}}
	if got := m.Status(after(20)); !cmp.Equal(want, got.Interfaces) || got.CPUPermille != 250 {
		t.Errorf("measured %+v, want %+v and 250 permille", got, want)
	}
	m.Links(nil, after(30))
	if got := m.Status(after(30)); len(got.Interfaces) != 0 {
		t.Errorf("an interface that is gone is measured: %+v", got.Interfaces)
	}
}

func TestASaturatedNICIsFullAndNoMore(t *testing.T) {
	m := NewMeter()
	m.Links([]Link{{Name: "eth0", SpeedMbps: 10}}, start)
	m.Links([]Link{{Name: "eth0", SpeedMbps: 10, Received: 1e9}}, after(1))
	if got := *m.Status(after(1)).Interfaces[0].UtilizationPermille; got != 1000 {
		t.Errorf("utilisation %d, want 1000", got)
	}
}

func TestProcStatIsReadStrictly(t *testing.T) {
	tests := []struct {
		name, stat string
		want       CPU
		ok         bool
	}{
		{"of Linux 6", "cpu  100 5 20 800 50 3 2 20 10 1\ncpu0 1 2 3", CPU{150, 1000}, true},
		{"without guests", "cpu 1 1 1 1 1 1 1 1\n", CPU{6, 8}, true},
		{"nothing", "", CPU{}, false},
		{"of one processor", "cpu0 1 1 1 1 1 1 1 1\n", CPU{}, false},
		{"too short", "cpu  1 2 3 4\n", CPU{}, false},
		{"no number", "cpu  1 2 x 4 5 6 7 8\n", CPU{}, false},
		{"negative", "cpu  1 2 -3 4 5 6 7 8\n", CPU{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ParseCPU([]byte(tt.stat)); got != tt.want || (err == nil) != tt.ok {
				t.Errorf("read %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	if got, err := ReadCPU("/"); err != nil || got.Total == 0 {
		t.Errorf("this machine's: %+v, %v", got, err)
	}
}

package load

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// measured makes a node's figures; rates are of VIPs.
func measured(node string, at time.Time, rates map[string]int64) *v1alpha1.VIPNodeTraffic {
	t := &v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: node}}
	t.Status.MeasuredAt = metav1.NewTime(at)
	for name, rate := range rates {
		t.Status.VIPs = append(t.Status.VIPs, v1alpha1.VIPTraffic{Name: name, BytesPerSecond: rate})
	}
	return t
}

// holding makes a node of actives that were placed long ago.
func holding(vips ...string) Node {
	n := Node{Load: int64(len(vips)), Actives: int64(len(vips)), VIPs: map[string]Held{}}
	for _, vip := range vips {
		n.VIPs[vip] = Held{Weight: 1, Since: noon.Add(-time.Hour).Unix()}
	}
	return n
}

func TestTrafficIsWhereItsVIPsAreNow(t *testing.T) {
	m := NewMeter()
	m.Observe(measured("a", noon, map[string]int64{"x": 100, "y": 10}))
	m.Observe(measured("b", noon, nil))
	for _, tt := range []struct {
		name       string
		a, b       Node
		onA, onB   int64
		after      func()
		secondsOut time.Duration
	}{
		{name: "as measured", a: holding("x", "y"), b: holding("z"), onA: 110},
		{name: "a VIP moves, and its figure with it at once", a: holding("y"), b: holding("z", "x"), onA: 10, onB: 100},
		{name: "its new node has measured it", a: holding("y"), b: holding("z", "x"), onA: 10, onB: 70,
			after: func() { m.Observe(measured("b", noon.Add(30*time.Second), map[string]int64{"x": 70})) }},
		{name: "its old node's older figure no longer counts, wherever it goes", a: holding("y", "x"), b: holding("z"), onA: 80},
		{name: "figures of more than three minutes are none", a: holding("y"), b: holding("z", "x"), onB: 70, secondsOut: 190},
		{name: "a node's figures go with it", a: holding("y"), b: holding("x"), onA: 10, after: func() { m.Observe(measured("a", noon, map[string]int64{"y": 10})); m.Forget("b") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.after != nil {
				tt.after()
			}
			r := m.Read(noon.Add(tt.secondsOut*time.Second), 3)
			if onA, onB := r.Figures("a", tt.a).Traffic, r.Figures("b", tt.b).Traffic; onA != tt.onA || onB != tt.onB {
				t.Errorf("got %d and %d, want %d and %d", onA, onB, tt.onA, tt.onB)
			}
		})
	}
}

func TestAVIPThatNobodyHasMeasuredCountsAsOthersDo(t *testing.T) {
	m := NewMeter()
	m.Observe(measured("a", noon, map[string]int64{"x": 100, "y": 20}))
	r := m.Read(noon, 4)
	if got := r.VIP("new", noon.Add(-time.Second).Unix()); got != 30 {
		t.Errorf("a new VIP counts %d, want the average 30", got)
	}
	if got := r.VIP("idle", noon.Add(-2*time.Minute).Unix()); got != 0 {
		t.Errorf("a VIP that has been there for long counts %d, want 0: it is idle", got)
	}
	if got := r.VIP("x", noon.Add(-time.Second).Unix()); got != 100 {
		t.Errorf("a VIP with a new placeholder counts %d, want what was measured", got)
	}
}

func TestUtilizationIsOfTheBusiestNIC(t *testing.T) {
	m, traffic := NewMeter(), measured("a", noon, nil)
	traffic.Status.CPUPermille = 250
	traffic.Status.Interfaces = []v1alpha1.InterfaceTraffic{{Name: "eth0", UtilizationPermille: ptr.To(int32(100))}, {Name: "eth1"}, {Name: "eth2", UtilizationPermille: ptr.To(int32(700))}}
	m.Observe(traffic)
	if got := m.Read(noon, 0).Figures("a", Node{}); got.NICPermille != 700 || got.CPUPermille != 250 {
		t.Errorf("got %+v", got)
	}
	if got := m.Read(noon.Add(time.Hour), 0).Figures("a", Node{}); got.NICPermille != 0 || got.CPUPermille != 0 {
		t.Errorf("an hour later: %+v", got)
	}
}

func TestANilMeterKnowsNothing(t *testing.T) {
	var m *Meter
	if got := m.Read(noon, 1).Figures("a", holding("x")); got.Traffic != 0 || got.Load != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestAfterALossTrafficGoesToTheHeirs(t *testing.T) {
	m := NewMeter()
	m.Observe(measured("a", noon, map[string]int64{"x": 100, "y": 20}))
	b, c := holding("z"), holding()
	b.VIPs["x"] = Held{Standby: true, Weight: 1}
	c.VIPs["y"] = Held{Standby: true, Weight: 1}
	b.Capacity = 2
	nodes := map[string]Node{"a": holding("x", "y"), "b": b, "c": c}
	got := m.Read(noon, 3).AfterLoss("a", nodes, AfterLoss("a", nodes))
	if len(got) != 2 || got["b"] != (Figures{Load: 2, Capacity: 2, Shared: 1, Traffic: 100}) || got["c"] != (Figures{Load: 1, Shared: 1, Traffic: 20}) {
		t.Errorf("got %+v", got)
	}
}

package traffic

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// carrying is a status of a node with one VIP that carries so many bytes and packets a second.
func carrying(name string, bytes, packets int64) v1alpha1.VIPNodeTrafficStatus {
	status := v1alpha1.VIPNodeTrafficStatus{BytesPerSecond: bytes, PacketsPerSecond: packets}
	if packets > 0 {
		status.VIPs = []v1alpha1.VIPTraffic{{Name: name, BytesPerSecond: bytes, PacketsPerSecond: packets}}
	}
	return status
}

func TestWhenFiguresArePublished(t *testing.T) {
	busy := carrying("a", 10e6, 10_000)
	with := func(change func(*v1alpha1.VIPNodeTrafficStatus)) v1alpha1.VIPNodeTrafficStatus {
		status := *busy.DeepCopy()
		change(&status)
		return status
	}
	quiet := v1alpha1.VIPNodeTrafficStatus{}
	tests := []struct {
		name       string
		last, next v1alpha1.VIPNodeTrafficStatus
		pause      time.Duration
		want       bool
	}{
		{"nothing changed", busy, busy, time.Minute, false},
		{"nothing changed for two minutes", busy, busy, 2 * time.Minute, true},
		{"nothing is carried for hours", quiet, quiet, 5 * time.Hour, false},
		{"a little more", busy, carrying("a", 10.9e6, 10_900), time.Minute, false},
		{"a fifth more", busy, carrying("a", 12e6, 12_000), time.Minute, true},
		{"a fifth more, but too soon", busy, carrying("a", 12e6, 12_000), 29 * time.Second, false},
		{"twice as much of next to nothing", carrying("a", 1000, 20), carrying("a", 2000, 40), time.Minute, false},
		{"small packets that become many", carrying("a", 10_000, 100), carrying("a", 30_000, 300), time.Minute, true},
		{"it ends", busy, quiet, time.Minute, true},
		{"it begins", quiet, carrying("a", 1000, 20), time.Minute, true},
		{"a single packet now and then", quiet, carrying("a", 60, 1), time.Minute, false},
		{"another VIP carries as much", busy, carrying("b", 10e6, 10_000), time.Minute, true},
		{"connections", busy, with(func(s *v1alpha1.VIPNodeTrafficStatus) { s.NewConnectionsPerSecond = 20 }), time.Minute, true},
		{"the processors", busy, with(func(s *v1alpha1.VIPNodeTrafficStatus) { s.CPUPermille = 300 }), time.Minute, true},
		{"the processors a little", busy, with(func(s *v1alpha1.VIPNodeTrafficStatus) { s.CPUPermille = 60 }), time.Minute, false},
		{"a NIC", busy, with(func(s *v1alpha1.VIPNodeTrafficStatus) {
			s.Interfaces = []v1alpha1.InterfaceTraffic{{Name: "eth0", BytesPerSecond: 1e6}}
		}), time.Minute, true},
		{"a NIC is gone", with(func(s *v1alpha1.VIPNodeTrafficStatus) {
			s.Interfaces = []v1alpha1.InterfaceTraffic{{Name: "eth0", BytesPerSecond: 1e6}}
		}), busy, time.Minute, true},
		{"an idle NIC is gone", with(func(s *v1alpha1.VIPNodeTrafficStatus) { s.Interfaces = []v1alpha1.InterfaceTraffic{{Name: "eth0"}} }), busy, time.Minute, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Publication
			p.Tried(start)
			p.Published(tt.last, start)
			if got := p.Due(tt.next, start.Add(tt.pause)); got != tt.want {
				t.Errorf("due: %t, want %t", got, tt.want)
			}
		})
	}
}

func TestTheFirstFiguresWaitAndAreThenPublished(t *testing.T) {
	var p Publication
	p.Begin(start)
	var quiet v1alpha1.VIPNodeTrafficStatus
	if p.Due(quiet, after(29)) || !p.Due(quiet, after(30)) {
		t.Error("the first figures should be published 30 s after the start")
	}
	// The API is away: what was measured is published with the next try.
	p.Tried(after(30))
	if p.Due(quiet, after(59)) || !p.Due(quiet, after(60)) {
		t.Error("a try that failed should be repeated after 30 s")
	}
	p.Tried(after(60))
	p.Published(quiet, after(60))
	if p.Due(quiet, after(1000)) {
		t.Error("figures that don't change are published again")
	}
}

// TestPublishingIsRare: whatever is measured, tries lie 30 s apart.
func TestPublishingIsRare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p Publication
		p.Begin(start)
		now, last := start, start
		for range rapid.IntRange(1, 100).Draw(t, "samples") {
			now = now.Add(time.Duration(rapid.Int64Range(int64(time.Second), int64(20*time.Second)).Draw(t, "pause")))
			status := carrying("a", rapid.Int64Range(0, 1e9).Draw(t, "bytes"), rapid.Int64Range(0, 1e6).Draw(t, "packets"))
			if !p.Due(status, now) {
				continue
			}
			if now.Sub(last) < publishPause {
				t.Fatalf("due again after %s", now.Sub(last))
			}
			last = now
			p.Tried(now)
			if rapid.Bool().Draw(t, "published") {
				p.Published(status, now)
			}
		}
	})
}

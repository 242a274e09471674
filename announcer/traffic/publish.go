package traffic

import (
	"time"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	// publishPause is how long lies at least between two tries to publish.
	publishPause = 30 * time.Second
	// publishAgain is after what time unchanged figures of a node that carries anything are published again: who reads them takes those
	// that are 3 minutes old for none.
	publishAgain = 2 * time.Minute
)

// What counts as a change: by more than a tenth, and by more than these.
const (
	changedBytes       = 125_000 // a second: 1 Mbit/s
	changedPackets     = 100     // a second
	changedConnections = 10      // a second
	// changedCPU is in thousandths of all processors.
	changedCPU = 100
	// carriedPackets is what a VIP carries at least whose coming or going is a change.
	carriedPackets = 10
)

// Publication decides when a node's figures are published. It knows no clock and no API, and is not safe for concurrent use. The zero
// value has published nothing.
type Publication struct {
	tried time.Time
	last  v1alpha1.VIPNodeTrafficStatus
	at    time.Time // of last; zero: none yet
}

// Begin has the first figures wait until the averages mean something.
func (p *Publication) Begin(now time.Time) { p.tried = now }

// Due says whether to try to publish what is measured now.
func (p *Publication) Due(status v1alpha1.VIPNodeTrafficStatus, now time.Time) bool {
	if now.Sub(p.tried) < publishPause {
		return false
	}
	return p.at.IsZero() || len(status.VIPs) > 0 && now.Sub(p.at) >= publishAgain || changed(p.last, status)
}

// Tried tells that publishing is tried.
func (p *Publication) Tried(now time.Time) { p.tried = now }

// Published tells that it succeeded.
func (p *Publication) Published(status v1alpha1.VIPNodeTrafficStatus, now time.Time) {
	p.last, p.at = status, now
}

// changed says whether anything is so different that those who place VIPs should know.
func changed(a, b v1alpha1.VIPNodeTrafficStatus) bool {
	if differ(a.BytesPerSecond, b.BytesPerSecond, changedBytes) || differ(a.PacketsPerSecond, b.PacketsPerSecond, changedPackets) ||
		differ(a.NewConnectionsPerSecond, b.NewConnectionsPerSecond, changedConnections) ||
		differ(int64(a.CPUPermille), int64(b.CPUPermille), changedCPU) {
		return true
	}
	return vipsChanged(a.VIPs, b.VIPs) || linksChanged(a.Interfaces, b.Interfaces)
}

func vipsChanged(a, b []v1alpha1.VIPTraffic) bool {
	before := make(map[string]v1alpha1.VIPTraffic, len(a))
	for _, vip := range a {
		before[vip.Name] = vip
	}
	for _, vip := range b {
		was, ok := before[vip.Name]
		delete(before, vip.Name)
		if !ok && vip.PacketsPerSecond >= carriedPackets || differ(was.BytesPerSecond, vip.BytesPerSecond, changedBytes) ||
			differ(was.PacketsPerSecond, vip.PacketsPerSecond, changedPackets) ||
			differ(was.NewConnectionsPerSecond, vip.NewConnectionsPerSecond, changedConnections) {
			return true
		}
	}
	for _, gone := range before {
		if gone.PacketsPerSecond >= carriedPackets {
			return true
		}
	}
	return false
}

func linksChanged(a, b []v1alpha1.InterfaceTraffic) bool {
	before := make(map[string]int64, len(a))
	for _, link := range a {
		before[link.Name] = link.BytesPerSecond
	}
	for _, link := range b {
		was := before[link.Name]
		delete(before, link.Name)
		if differ(was, link.BytesPerSecond, changedBytes) {
			return true
		}
	}
	for _, gone := range before {
		if gone > changedBytes {
			return true
		}
	}
	return false
}

// differ says whether two rates differ by more than a tenth of the larger one and by more than least.
func differ(a, b, least int64) bool {
	by := max(a, b) - min(a, b)
	return by > least && by > max(a, b)/10
}

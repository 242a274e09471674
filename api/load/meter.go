package load

import (
	"sync"
	"time"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	// freshFor is how old figures may be: an announcer renews them well within that.
	freshFor = 3 * time.Minute
	// unmeasuredFor is how long after its placement a VIP may be in nobody's figures: announcers write every 30 s at most.
	unmeasuredFor = time.Minute
	// maxRate bounds a VIP's figure, so that sums can't overflow: 4 TB/s.
	maxRate = 1 << 42
)

// Meter knows what nodes and VIPs were last measured to carry. It is safe for concurrent use; a nil Meter knows nothing.
type Meter struct {
	mu    sync.Mutex
	nodes map[string]*v1alpha1.VIPNodeTraffic
	// known is what they amount to, until then; it is made anew when something has changed.
	known *figures
	until time.Time
}

// figures are never changed once they are made.
type figures struct {
	vips  map[string]int64 // bytes per second
	nodes map[string]utilization
	total int64
}

type utilization struct{ nic, cpu int64 }

// Fresh says whether a node's figures are recent enough to go by.
func Fresh(traffic *v1alpha1.VIPNodeTraffic, now time.Time) bool {
	age := now.Sub(traffic.Status.MeasuredAt.Time)
	return age <= freshFor && age >= -freshFor
}

// NewMeter returns a Meter that knows nothing yet.
func NewMeter() *Meter { return &Meter{nodes: map[string]*v1alpha1.VIPNodeTraffic{}} }

// Observe takes in a node's figures, which must not be changed afterwards.
func (m *Meter) Observe(traffic *v1alpha1.VIPNodeTraffic) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[traffic.Name], m.known = traffic, nil
}

// Forget takes in the end of a node's figures.
func (m *Meter) Forget(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.nodes, node)
	m.known = nil
}

// Read returns what is known at a moment; actives is how many active VIPs there are among the nodes that are to be compared.
func (m *Meter) Read(now time.Time, actives int64) Reading {
	if m == nil {
		return Reading{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || !now.Before(m.until) {
		m.known, m.until = m.sum(now)
	}
	return Reading{figures: *m.known, unmeasured: m.known.total / max(1, actives), since: now.Add(-unmeasuredFor).Unix()}
}

// sum puts the fresh figures together. Of several nodes' figures for a VIP the newest one counts. It says until when the result holds.
func (m *Meter) sum(now time.Time) (*figures, time.Time) {
	f, until := &figures{vips: map[string]int64{}, nodes: map[string]utilization{}}, now.Add(freshFor)
	newest := map[string]time.Time{}
	for name, traffic := range m.nodes {
		at := traffic.Status.MeasuredAt.Time
		if !Fresh(traffic, now) {
			continue
		}
		if end := at.Add(freshFor + time.Nanosecond); end.Before(until) {
			until = end
		}
		u := utilization{cpu: int64(traffic.Status.CPUPermille)}
		for _, nic := range traffic.Status.Interfaces {
			if nic.UtilizationPermille != nil {
				u.nic = max(u.nic, int64(*nic.UtilizationPermille))
			}
		}
		f.nodes[name] = u
		for _, vip := range traffic.Status.VIPs {
			rate := min(max(0, vip.BytesPerSecond), maxRate)
			before, ok := newest[vip.Name]
			if ok && (at.Before(before) || at.Equal(before) && rate <= f.vips[vip.Name]) {
				continue
			}
			f.total += rate - f.vips[vip.Name]
			newest[vip.Name], f.vips[vip.Name] = at, rate
		}
	}
	return f, until
}

// Reading is what was known at one moment. It is a value: nothing in it changes. The zero Reading knows of no traffic.
type Reading struct {
	figures
	// unmeasured is what a VIP counts that was placed since then and is in nobody's figures yet: as much as VIPs carry on average.
	// Otherwise all VIPs that are created within the half minute that a measurement takes would go to one idle node.
	unmeasured, since int64
}

// Rates are the bytes per second of all VIPs in fresh figures, by name. They must not be changed.
func (r Reading) Rates() map[string]int64 { return r.vips }

// Total is what they come to together.
func (r Reading) Total() int64 { return r.total }

// VIP is what a VIP carries, in bytes per second; placed is when its placeholder was made, in seconds since 1970.
func (r Reading) VIP(name string, placed int64) int64 {
	if rate, ok := r.vips[name]; ok {
		return rate
	}
	if placed > r.since {
		return r.unmeasured
	}
	return 0
}

// Figures are a node's as it is.
func (r Reading) Figures(name string, n Node) Figures {
	f := Figures{Load: n.Load, Capacity: n.Capacity, NICPermille: r.nodes[name].nic, CPUPermille: r.nodes[name].cpu}
	if r.total == 0 {
		return f // there is nothing to look for
	}
	for vip, held := range n.VIPs {
		if !held.Standby {
			f.Traffic += r.VIP(vip, held.Since)
		}
	}
	return f
}

// AfterLoss are the figures of nodes once the VIPs of a lost one are with their first standbys; after says what each takes over.
func (r Reading) AfterLoss(lost string, nodes map[string]Node, after map[string]After) map[string]Figures {
	figures := make(map[string]Figures, len(after))
	for name, a := range after {
		f := r.Figures(name, nodes[name])
		f.Load, f.Shared = a.Load, a.Shared
		if r.total > 0 {
			for _, vip := range a.Inherits {
				f.Traffic += r.VIP(vip, nodes[lost].VIPs[vip].Since)
			}
		}
		figures[name] = f
	}
	return figures
}

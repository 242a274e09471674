package scenario

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Outage is what VIPs did while the API server was away, and after its return.
type Outage struct {
	Seconds    float64    `json:"outageSeconds"`
	After      float64    `json:"afterSeconds"`
	Restarts   int        `json:"announcersKilledAndRestarted"`
	Unanswered Unanswered `json:"probes"`
	Moves      int        `json:"moves"`
}

// APIOutage stops the API server, optionally kills and restarts every announcer in turn meanwhile, and starts it again. All
// VIPs are probed throughout and for after.
func (e *Env) APIOutage(ctx context.Context, vips []netip.Addr, length, after time.Duration, restart bool) (Outage, error) {
	before, err := e.Placements(ctx)
	if err != nil {
		return Outage{}, err
	}
	result := Outage{Seconds: length.Seconds(), After: after.Seconds()}
	result.Unanswered, err = e.Probing(ctx, vips, 50*time.Millisecond, func() error {
		if err := e.StopAPIServer(); err != nil {
			return err
		}
		end := time.Now().Add(length)
		if restart {
			pause := length / time.Duration(2*len(e.Nodes)+1)
			for _, n := range e.Nodes {
				time.Sleep(pause) // spreads the restarts over the outage
				if err := n.Announcer.Kill(); err != nil {
					return err
				}
				if err := n.Announcer.Start(); err != nil {
					return err
				}
				result.Restarts++
			}
		}
		time.Sleep(time.Until(end)) // the outage itself
		if err := e.StartAPIServer(ctx); err != nil {
			return err
		}
		time.Sleep(after) // what is watched
		return nil
	})
	if err != nil {
		return result, err
	}
	now, err := e.Placements(ctx)
	if err != nil {
		return result, err
	}
	for vip, node := range before {
		if now[vip] != node {
			result.Moves++
		}
	}
	return result, nil
}

// Requests is what our components ask of the API server.
type Requests struct {
	VIPs    int     `json:"vips"`
	Nodes   int     `json:"nodes"`
	Seconds float64 `json:"seconds"`
	// PerSecond by component, leader election's leases apart.
	PerSecond map[string]float64 `json:"perSecond"`
	// PerSecondAndNode is all of it divided by the nodes.
	PerSecondAndNode float64 `json:"perSecondAndNode"`
	// Leases a second.
	Leases float64 `json:"leasesPerSecond"`
	// What the requests were, as "component verb resource".
	Kinds map[string]int `json:"kinds"`
}

var components = []string{"evenkeel-scheduler", "evenkeel-controller", "evenkeel-announcer"}

// RequestsBetween counts what our service accounts asked for in a time window.
func (e *Env) RequestsBetween(ctx context.Context, from, to time.Time) (Requests, error) {
	requests, err := e.Cluster.Requests(from, to)
	if err != nil {
		return Requests{}, err
	}
	vips, err := e.ListVIPs(ctx)
	if err != nil {
		return Requests{}, err
	}
	seconds := to.Sub(from).Seconds()
	result := Requests{VIPs: len(vips), Nodes: len(e.Nodes), Seconds: seconds, PerSecond: map[string]float64{}, Kinds: map[string]int{}}
	for _, component := range components {
		account := lab.Account(component)
		for _, r := range requests {
			switch {
			case r.User != account:
			case r.Resource == "leases":
				result.Leases += 1 / seconds
			default:
				result.PerSecond[component] += 1 / seconds
				result.Kinds[fmt.Sprintf("%s %s %s", component, r.Verb, r.Resource)]++
			}
		}
	}
	for _, rate := range result.PerSecond {
		result.PerSecondAndNode += rate / float64(len(e.Nodes))
	}
	return result, nil
}

// CreationCost is what a new VIP costs the API server.
type CreationCost struct {
	VIPs   int            `json:"vips"`
	PerVIP float64        `json:"requestsPerVIP"`
	Kinds  map[string]int `json:"kinds"`
}

// CostOfCreation creates Services and counts what our components ask for, until settle after the last is announced.
func (e *Env) CostOfCreation(ctx context.Context, names []string, settle time.Duration) (CreationCost, error) {
	from := time.Now()
	if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
		return CreationCost{}, err
	}
	time.Sleep(settle) // what follows a creation (events, statuses) belongs to it
	counted, err := e.RequestsBetween(ctx, from, time.Now())
	if err != nil {
		return CreationCost{}, err
	}
	total := 0
	for _, n := range counted.Kinds {
		total += n
	}
	return CreationCost{VIPs: len(names), PerVIP: float64(total) / float64(len(names)), Kinds: counted.Kinds}, nil
}

// Flatten returns the addresses of Services in order of their names.
func Flatten(byService map[string][]netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, name := range slices.Sorted(maps.Keys(byService)) {
		all = append(all, byService[name]...)
	}
	return all
}

package scenario

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Disturbance is what a network and machines may do without anybody being dead.
type Disturbance struct {
	Loss        float64       `json:"loss"`
	DelayMs     float64       `json:"delayMs"`
	JitterMs    float64       `json:"jitterMs"`
	BusyCores   bool          `json:"busyCores"`
	SilentMs    float64       `json:"portsSilentMs"`
	SilentEvery time.Duration `json:"-"`
	Seed        uint64        `json:"seed"`
}

// Disturbed is the mark's: 1 % loss, 20 ± 20 ms, both cores busy, each port silent for 100 ms every 10 s, all at once.
func Disturbed(seed uint64) Disturbance {
	return Disturbance{Loss: 0.01, DelayMs: 20, JitterMs: 20, BusyCores: true, SilentMs: 100, SilentEvery: 10 * time.Second, Seed: seed}
}

// Alarms counts what happened for no reason.
type Alarms struct {
	Disturbance
	Nodes   int     `json:"nodes"`
	VIPs    int     `json:"vips"`
	Minutes float64 `json:"minutes"`
	// Takeovers are bindings of a VIP by another node than its owner, by the kernels' own events; Reported are the announcers'
	// own count of takeovers, by their metrics.
	Takeovers int     `json:"takeovers"`
	Reported  float64 `json:"reportedTakeovers"`
	// PerNodeAndDay is the rate of takeovers.
	PerNodeAndDay float64 `json:"takeoversPerNodeAndDay"`
	// Suspects are the nodes that were suspect at any time.
	Suspects int `json:"suspects"`
}

// FalseAlarms disturbs all nodes for a while and counts takeovers.
func (e *Env) FalseAlarms(ctx context.Context, d Disturbance, length time.Duration) (result Alarms, err error) {
	result = Alarms{Disturbance: d, Nodes: len(e.Nodes), Minutes: length.Minutes()}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	before, err := e.Owners()
	if err != nil {
		return result, err
	}
	result.VIPs = len(before)
	reported, err := e.reportedTakeovers(ctx)
	if err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	stop, err := e.disturb(d)
	if err != nil {
		return result, errors.Join(err, stop())
	}
	suspects := e.watchSuspects(ctx, length)
	err = errors.Join(ctx.Err(), stop()) // a figure of a run that was ended early would be a false one
	events, stopErr := recorder.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return result, err
	}
	result.Suspects = len(suspects)
	result.Takeovers = bindingsElsewhere(events)
	result.PerNodeAndDay = float64(result.Takeovers) / float64(result.Nodes) / result.Minutes * 24 * 60
	now, err := e.reportedTakeovers(ctx)
	if err != nil {
		return result, err
	}
	result.Reported = now - reported
	return result, e.Whole(ctx)
}

// disturb begins a disturbance.
func (e *Env) disturb(d Disturbance) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for i := len(stops) - 1; i >= 0; i-- {
			errs = append(errs, stops[i]())
		}
		return errors.Join(errs...)
	}
	duration := func(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
	for i, n := range e.Nodes {
		undo, err := e.Impair(n.Host, lab.Impairment{Loss: d.Loss, Delay: duration(d.DelayMs), Jitter: duration(d.JitterMs), Seed: d.Seed<<8 + uint64(i)})
		if err != nil {
			return stop, err
		}
		stops = append(stops, undo)
	}
	if d.SilentMs > 0 {
		stops = append(stops, e.Flicker(d.SilentEvery, duration(d.SilentMs), d.Seed))
	}
	if d.BusyCores {
		burned := lab.Burn()
		stops = append(stops, func() error { burned(); return nil })
	}
	return stop, nil
}

// watchSuspects returns the nodes that were suspect at any time while it watched.
func (e *Env) watchSuspects(ctx context.Context, length time.Duration) map[string]string {
	seen := map[string]string{}
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		// A slow API server's answer may not come; the next one will tell.
		suspects, err := e.Suspects(ctx)
		if err != nil {
			continue
		}
		for name, reason := range suspects {
			seen[name] = reason
		}
	}
	return seen
}

// bindingsElsewhere counts how often a VIP was bound by another node than the one that had it last.
func bindingsElsewhere(events []lab.AddrEvent) int {
	last := map[netip.Addr]string{}
	count := 0
	for _, event := range events {
		if !event.Added || event.Renewed || !event.Addr.IsSingleIP() {
			continue
		}
		if node, known := last[event.Addr.Addr()]; known && node != event.Node {
			count++
		}
		last[event.Addr.Addr()] = event.Node
	}
	return count
}

// Package relay runs the handoff of established connections (package handoff) beside the agent's loop: the kernel takes
// milliseconds to commit a change of rules, and only a new owner waits for that.
package relay

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/handoff"
)

// Table is what a Relay keeps; handoff.Table is one.
type Table interface {
	Set(ctx context.Context, state handoff.State) error
	Renew(ctx context.Context) error
	Stats(ctx context.Context) (map[netip.Addr]handoff.Use, error)
}

// Wish is what the agent wants, complete.
type Wish struct {
	VIPs []handoff.VIP
	// Peers are the MAC addresses of all nodes that may have a place of one of them.
	Peers []handoff.MAC
}

// Options of a Relay. All fields are required.
type Options struct {
	Table Table
	Core  *handoff.Core
	// RenewEvery is the pace at which the kernel's elements are renewed.
	RenewEvery time.Duration
	// Unreachable says whether the kernel has found that nobody has addr on a NIC: the node is off the segment.
	Unreachable func(addr netip.Addr, ifindex int) bool
	// Notify is told after each try what came of it. It must not block.
	Notify func(error)
	Clock  clock.WithTicker
}

// lookEvery is how often the kernel's counters are read: entries end minutes after their last packet.
const lookEvery = 10 * time.Second

// Relay applies the newest wish and lets the others pass. Its methods are safe for concurrent use.
type Relay struct {
	opts    Options
	changed chan struct{}

	mu   sync.Mutex
	wish *Wish  // nil before the agent has said anything
	off  string // why nothing is handed on
	uses map[netip.Addr]handoff.Use
	// missed counts for how many looks in a row each earlier owner couldn't be reached, and dead are those that are given up.
	missed  map[string]int
	dead    map[string]time.Time
	want    handoff.State
	have    handoff.State
	applied bool
	waiting []func()
	stats   Stats
}

// New returns a Relay that has taken over what state the table was opened with.
func New(opts Options, state handoff.State) *Relay {
	opts.Core.Adopt(state, opts.Clock.Now())
	return &Relay{
		opts: opts, changed: make(chan struct{}, 1), have: state, dead: map[string]time.Time{},
		stats: Stats{Ended: map[handoff.Reason]float64{}, Cut: map[handoff.Reason]float64{}},
	}
}

// Set asks for the complete set. done is called once what is to be handed on is in the kernel, or when that failed: a VIP whose
// connections are reset is still announced. It is called at once where there is nothing to wait for.
func (r *Relay) Set(ctx context.Context, wish Wish, done func()) {
	if r == nil {
		done()
		return
	}
	r.mu.Lock()
	r.wish = &wish
	r.update(ctx)
	waits := r.missing()
	if waits {
		r.waiting = append(r.waiting, done)
	}
	r.mu.Unlock()
	if !waits {
		done()
	}
}

// TurnOff ends all handing on, or allows it again where why is empty. Copies for VIPs of ours still end here.
func (r *Relay) TurnOff(ctx context.Context, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.off = why
	r.update(ctx)
}

// update decides what the kernel is to hold, and wakes Run if that is new. What an earlier process left stays until the agent has
// said what it holds. The caller holds mu.
func (r *Relay) update(ctx context.Context) {
	if r.wish == nil {
		return
	}
	in := handoff.Input{VIPs: r.wish.VIPs, Peers: r.wish.Peers, Uses: r.uses, Dead: func(node string) bool {
		_, dead := r.dead[node]
		return dead
	}}
	if r.off != "" {
		in.VIPs = slices.Clone(in.VIPs)
		for i := range in.VIPs {
			in.VIPs[i].Off = true
		}
	}
	result := r.opts.Core.Update(in, r.opts.Clock.Now())
	for _, skip := range result.Skipped {
		klog.FromContext(ctx).V(1).Info("An earlier owner's connections can't be handed on", "vip", skip.VIP, "node", skip.Node, "reason", skip.Why)
	}
	for _, ended := range result.Ended {
		r.stats.Ended[ended.Reason]++
		if ended.Reason != handoff.Quiet && ended.Reason != handoff.Left && ended.Flows > 0 {
			r.stats.Cut[ended.Reason] += float64(ended.Flows)
			klog.FromContext(ctx).Info("Connections are no longer handed on, those that last will be reset",
				"vip", ended.VIP, "node", ended.Node, "reason", ended.Reason, "flows", ended.Flows)
		}
	}
	r.want = result.State
	if !r.applied || !equal(r.want, r.have) {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// missing says whether wanted entries aren't in force. The caller holds mu.
func (r *Relay) missing() bool {
	return slices.ContainsFunc(r.want.Entries, func(e handoff.Entry) bool {
		return !slices.ContainsFunc(r.have.Entries, func(have handoff.Entry) bool { return have.VIP == e.VIP && have.Slot == e.Slot && have.To == e.To })
	})
}

func equal(a, b handoff.State) bool {
	return slices.Equal(a.Guards, b.Guards) && slices.Equal(a.Peers, b.Peers) && slices.Equal(a.Entries, b.Entries)
}

// Run applies until ctx ends. What is in force then stays for the next process, as long as its timeouts allow.
func (r *Relay) Run(ctx context.Context) error {
	if r == nil {
		<-ctx.Done()
		return nil
	}
	renew, look := r.opts.Clock.NewTicker(r.opts.RenewEvery), r.opts.Clock.NewTicker(lookEvery)
	defer renew.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed:
			r.apply(ctx)
		case <-renew.C():
			r.tell(ctx, r.opts.Table.Renew(ctx))
		case <-look.C():
			r.look(ctx)
		}
	}
}

func (r *Relay) apply(ctx context.Context) {
	r.mu.Lock()
	want, waiting := r.want, r.waiting
	r.waiting = nil
	r.mu.Unlock()
	err := r.opts.Table.Set(ctx, want)
	r.tell(ctx, err)
	r.mu.Lock()
	if r.applied = err == nil; r.applied {
		r.have = want
	}
	r.mu.Unlock()
	for _, done := range waiting {
		done()
	}
}

// An earlier owner that can't be reached in missedAfter looks in a row is dead. What it served has ended then; deadFor later it may
// be an earlier owner again.
const (
	missedAfter = 2
	deadFor     = time.Minute
)

// look reads the kernel's counters, and which earlier owners are still there.
func (r *Relay) look(ctx context.Context) {
	uses, err := r.opts.Table.Stats(ctx)
	if err != nil {
		r.tell(ctx, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses = uses
	r.stats.count(uses)
	now, missed := r.opts.Clock.Now(), map[string]int{}
	maps.DeleteFunc(r.dead, func(_ string, since time.Time) bool { return now.Sub(since) > deadFor })
	for _, e := range oncePerNode(r.have.Entries) {
		if !r.opts.Unreachable(e.To, e.Interface) {
			continue
		}
		if missed[e.Node] = r.missed[e.Node] + 1; missed[e.Node] >= missedAfter {
			r.dead[e.Node] = now
		}
	}
	r.missed = missed
	r.update(ctx)
}

// oncePerNode returns one entry of each earlier owner: asking the kernel for one lists all neighbours.
func oncePerNode(entries []handoff.Entry) []handoff.Entry {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b handoff.Entry) int { return strings.Compare(a.Node, b.Node) })
	return slices.CompactFunc(entries, func(a, b handoff.Entry) bool { return a.Node == b.Node })
}

func (r *Relay) tell(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		klog.FromContext(ctx).Error(err, "Handing on connections failed, moves may reset them")
	}
	r.opts.Notify(err)
}

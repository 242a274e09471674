// Package rebalancer evens VIPs out: it surveys the cluster after changes, and asks for the moves that may begin, which package vip
// makes. What it must not forget is in the API: a move is recorded in its pool's status before it begins, and asked for in its VIP's spec.
package rebalancer

import (
	"context"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/serving"
)

const (
	// settle is how long changes are collected before a survey: a move is several of them.
	settle = 300 * time.Millisecond
	// calm is for how long the VIPs and nodes must have been the same before moves begin: in a wave of deletions or a loss that is being
	// healed any plan is soon out of date. Where Services come and go all the time that is waited for no longer than calmAtMost.
	calm       = 5 * time.Second
	calmAtMost = time.Minute
	// lookAgain is how often the cluster is surveyed without a change.
	lookAgain = 30 * time.Second
	// restAfter a move that came to nothing, nothing is moved: the reason may concern others too.
	restAfter = time.Minute
)

// Config of a Rebalancer.
type Config struct {
	// Client reads from a cache.
	Client    client.Client
	Clock     clock.Clock
	Namespace string
	Nodes     *fleet.Book
	Ledger    *ledger.Ledger
	Teller    *serving.Teller
	// Demand says what a VIP asks of nodes; false: it is not known.
	Demand func(ctx context.Context, vip string) (fleet.Demand, bool)
	// Defaults of what pools' policies leave open.
	Defaults policy.Policy
	// Traffic reads VIPNodeTraffics, past the cache: they change all the time and are looked at only where VIPs are uneven. nil: not at all.
	Traffic client.Reader
}

// Rebalancer moves VIPs to even out while this process leads. Poke tells it that something has changed.
type Rebalancer struct {
	Config

	poked chan struct{}

	// The rest is Start's.
	last    shape
	changed time.Time            // when that changed last, but for our moves
	stirred time.Time            // when it began to change, after it had been calm
	able    map[string]time.Time // since when nodes have been able, where this process saw them become so
	asked   map[string]v1alpha1.MoveRequest
	failed  failure
	traffic traffic

	mu    sync.Mutex
	found Found
}

// failure is the last move that came to nothing.
type failure struct {
	vip, node string
	until     time.Time // nothing is moved until then
}

// Found is what the last survey found, for metrics.
type Found struct {
	// Missing moves until all is even, and what holds some of them back, by reason.
	Missing int
	Held    map[policy.Reason]int
}

var (
	_ manager.Runnable               = (*Rebalancer)(nil)
	_ manager.LeaderElectionRunnable = (*Rebalancer)(nil)
)

// New makes a Rebalancer.
func New(c Config) *Rebalancer {
	return &Rebalancer{Config: c, poked: make(chan struct{}, 1), able: map[string]time.Time{}, asked: map[string]v1alpha1.MoveRequest{}}
}

// NeedLeaderElection makes Start wait until this process leads.
func (r *Rebalancer) NeedLeaderElection() bool { return true }

// Poke says that placeholders, VIPs, pools or nodes have changed. It doesn't block.
func (r *Rebalancer) Poke() {
	select {
	case r.poked <- struct{}{}:
	default:
	}
}

// Found is what the last survey found.
func (r *Rebalancer) Found() Found {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found
}

// Start surveys after changes until ctx ends.
func (r *Rebalancer) Start(ctx context.Context) error {
	select {
	case <-r.Ledger.Ready():
	case <-ctx.Done():
		return nil
	}
	again := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.poked:
		case <-r.Clock.After(again):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.Clock.After(settle):
		}
		var err error
		if again, err = r.Turn(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Evening out will be tried again")
			again = calm
		}
	}
}

package vip

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// reportWithin is how long an announcer that works takes at most to report on a new placeholder, over an API server that
// answers at once: it is told by a watch and writes once.
const reportWithin = 2 * time.Second

// Health is what is known of the API server; apihealth.Meter is one.
type Health interface {
	// Slowest is how long a request took of late.
	Slowest() time.Duration
	// Trouble is when a request failed last.
	Trouble() time.Time
}

// Reports knows since when each placeholder could have been reported on. It is safe for concurrent use. Another leader, or a
// restart, begins anew.
type Reports struct {
	Health Health

	mu    sync.Mutex
	bound map[types.UID]time.Time
}

// wait is how much longer a report on a placeholder that has a node may take; at 0 it is overdue. An announcer waits for a
// watch, the scheduler's and its own, and for a write: each may take as long as the slowest of our own requests. After trouble
// with the API server the time begins anew.
func (r *Reports) wait(pod types.UID, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, ok := r.bound[pod]
	if !ok {
		if r.bound == nil {
			r.bound = map[types.UID]time.Time{}
		}
		since = now
		r.bound[pod] = since
	}
	if trouble := r.Health.Trouble(); trouble.After(since) {
		since = trouble
	}
	return max(0, since.Add(reportWithin+4*r.Health.Slowest()).Sub(now))
}

// Forget drops a placeholder that is gone.
func (r *Reports) Forget(pod types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.bound, pod)
}

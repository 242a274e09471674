// Package apihealth knows how slow the API server is, by the requests that the controller makes anyway: who is blamed for not
// having reported must have been able to.
package apihealth

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// window is for how long a slow answer counts. A leader renews its lease every few seconds, so that there is always one.
const window = 30 * time.Second

// Meter measures requests. It is safe for concurrent use.
type Meter struct {
	clock clock.PassiveClock

	mu      sync.Mutex
	slowest [2]sample // of the present and the previous window
	trouble time.Time
}

type sample struct {
	begin time.Time
	took  time.Duration
}

// New returns a Meter that has seen nothing.
func New(clock clock.PassiveClock) *Meter { return &Meter{clock: clock} }

// Slowest is how long a request took at most of late: within one to two windows of 30 s.
func (m *Meter) Slowest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turn(m.clock.Now())
	return max(m.slowest[0].took, m.slowest[1].took)
}

// Trouble is when a request failed last, at the server or on the way there; zero: none did.
func (m *Meter) Trouble() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trouble
}

func (m *Meter) turn(now time.Time) {
	switch age := now.Sub(m.slowest[0].begin); {
	case age >= 2*window:
		m.slowest = [2]sample{{begin: now}, {}}
	case age >= window:
		m.slowest = [2]sample{{begin: now}, m.slowest[0]}
	}
}

func (m *Meter) note(took time.Duration, failed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	m.turn(now)
	m.slowest[0].took = max(m.slowest[0].took, took)
	if failed {
		m.trouble = now
	}
}

// Wrap measures what goes through a transport. Watches, which last for minutes, count only when they fail.
func (m *Meter) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		begin := m.clock.Now()
		response, err := next.RoundTrip(request)
		took := m.clock.Since(begin)
		if request.URL.Query().Get("watch") == "true" {
			took = 0
		}
		failed := err != nil && request.Context().Err() == nil || err == nil && response.StatusCode >= http.StatusInternalServerError
		m.note(took, failed)
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

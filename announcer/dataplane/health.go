// Package dataplane tells whether the node's Service data plane works: a node whose kube-proxy is dead still answers
// for a VIP, and its packets go nowhere.
package dataplane

import (
	"fmt"
	"time"
)

// Reasons of a Health.
const (
	// ReasonHealthy: the health check succeeds.
	ReasonHealthy = "Healthy"
	// ReasonNotChecked: the check is turned off, and the data plane counts as healthy.
	ReasonNotChecked = "NotChecked"
	// ReasonUnknown: nothing has been asked yet. It counts as unhealthy: a node proves itself before it gets VIPs.
	ReasonUnknown = "Unknown"
	// ReasonUnreachable: nobody answers at the health check's URL.
	ReasonUnreachable = "Unreachable"
	// ReasonUnhealthy: the data plane says itself that it is unhealthy.
	ReasonUnhealthy = "Unhealthy"
)

// Health is the verdict about the data plane.
type Health struct {
	Healthy bool
	Reason  string
	// Message is for people: what was seen and, where it helps, what to do.
	Message string
	// Since is when Healthy last changed, or when checks began.
	Since time.Time
}

// Probe is the outcome of one check.
type Probe struct {
	// Err is nil if the data plane answered that it is healthy.
	Err error
	// Answered says that there was an HTTP answer.
	Answered bool
}

// Rules turn probes into verdicts.
type Rules struct {
	// Failures in a row are needed to call a healthy data plane unhealthy,
	Failures int
	// and they must span this time: a kube-proxy that restarts is no reason to move VIPs.
	FailAfter time.Duration
	// URL is named in messages.
	URL string
}

// History is what the verdict depends on. The zero History has seen nothing.
type History struct {
	health      Health
	failures    int
	failedFirst time.Time
	everHealthy bool
}

// Health is the present verdict.
func (h History) Health() Health {
	if h.health.Reason == "" {
		return Health{Reason: ReasonUnknown, Message: "the data plane has not been asked yet"}
	}
	return h.health
}

// Next takes in a probe made at now.
func (h History) Next(r Rules, p Probe, now time.Time) History {
	if p.Err == nil {
		h.failures, h.everHealthy = 0, true
		return h.become(Health{Healthy: true, Reason: ReasonHealthy, Message: "the data plane answers that it is healthy"}, now)
	}
	if h.failures == 0 {
		h.failedFirst = now
	}
	h.failures++
	if h.health.Healthy && (h.failures < r.Failures || now.Sub(h.failedFirst) < r.FailAfter) {
		return h
	}
	bad := Health{Reason: ReasonUnhealthy, Message: fmt.Sprintf("%s: %v", r.URL, p.Err)}
	if !p.Answered {
		bad.Reason = ReasonUnreachable
		if !h.everHealthy {
			bad.Message += "; if the node's Service data plane is not kube-proxy or its health check is elsewhere, " +
				"set " + Flag + " of the announcer to its URL, or to the empty string to turn this check off"
		}
	}
	return h.become(bad, now)
}

// become keeps Since as long as Healthy stays what it is.
func (h History) become(n Health, now time.Time) History {
	n.Since = now
	if h.health.Reason != "" && h.health.Healthy == n.Healthy {
		n.Since = h.health.Since
	}
	h.health = n
	return h
}

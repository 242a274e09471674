package vip

import (
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// Outcomes of moves that were asked for.
const (
	outcomeDone   = "done"
	outcomeFailed = "failed"
)

// The counters are registered once for the process, as controller-runtime's own metrics are.
var (
	moves = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "evenkeel_vip_moves_total",
		Help: "VIPs that came to be announced by another node, by the reason in status.lastMove.",
	}, []string{"reason"})
	wishedMoves = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "evenkeel_requested_moves_total",
		Help: "Planned moves that were asked for (spec.move), by their reason and how they ended: done or failed.",
	}, []string{"reason", "outcome"})
)

func init() { ctrlmetrics.Registry.MustRegister(moves, wishedMoves) }

package vipload

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var (
	filterRejections = metrics.NewCounterVec(&metrics.CounterOpts{
		Subsystem:      "evenkeel_vipload",
		Name:           "filter_rejections_total",
		Help:           "Nodes that VIPLoad refused for a placeholder, by reason.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})

	activatedPods = metrics.NewCounter(&metrics.CounterOpts{
		Subsystem:      "evenkeel_vipload",
		Name:           "activated_pods_total",
		Help:           "Pending placeholders put back into the scheduling queue because a VIPNode or the endpoints of their Service changed.",
		StabilityLevel: metrics.ALPHA,
	})

	knownNodes = metrics.NewGauge(&metrics.GaugeOpts{
		Subsystem:      "evenkeel_vipload",
		Name:           "vipnodes",
		Help:           "VIPNodes known to the scheduler: nodes with an announcer.",
		StabilityLevel: metrics.ALPHA,
	})

	// registerMetrics once, as every profile of the scheduler makes its own plugin.
	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(filterRejections, activatedPods, knownNodes)
	})
)

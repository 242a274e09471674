package suspects

import (
	"github.com/prometheus/client_golang/prometheus"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
)

// suspected counts suspicions; it is registered once for the process, as controller-runtime's own metrics are.
var suspected = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "evenkeel_suspected_nodes_total",
	Help: "Nodes that became suspect, by reason: FellSilent (on the wire) or NoReport (the announcer did not report on a placeholder).",
}, []string{"reason"})

func init() { ctrlmetrics.Registry.MustRegister(suspected) }

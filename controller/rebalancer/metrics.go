package rebalancer

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	missing = prometheus.NewDesc("evenkeel_rebalance_missing_moves", "Moves that would make VIPs even again and have not begun.", nil, nil)
	heldBy  = prometheus.NewDesc("evenkeel_rebalance_held",
		"What holds moves back that would even out, by reason: pools, VIPs or nodes to which it applies.", []string{"reason"}, nil)
)

// Collector shows what the last survey found, once this process leads. It is safe for concurrent use.
type Collector struct {
	Rebalancer *Rebalancer
	Elected    <-chan struct{}
}

var _ prometheus.Collector = Collector{}

// Describe implements prometheus.Collector.
func (c Collector) Describe(ch chan<- *prometheus.Desc) { ch <- missing; ch <- heldBy }

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-c.Elected:
	default:
		return
	}
	found := c.Rebalancer.Found()
	ch <- prometheus.MustNewConstMetric(missing, prometheus.GaugeValue, float64(found.Missing))
	for reason, n := range found.Held {
		ch <- prometheus.MustNewConstMetric(heldBy, prometheus.GaugeValue, float64(n), string(reason))
	}
}

package watch

import (
	"github.com/prometheus/client_golang/prometheus"

	"evenkeel.io/evenkeel/announcer/liveness"
)

// collector reads a Watch's counts when it is asked. None has a label per VIP or node.
type collector struct {
	watch                        *Watch
	sent, unanswered             *prometheus.Desc
	voided, unproven             *prometheus.Desc
	addresses, peers             *prometheus.Desc
	neighbours, silentNeighbours *prometheus.Desc
}

// Register registers the metrics of a Watch.
func Register(registry prometheus.Registerer, w *Watch) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("evenkeel_announcer_"+name, help, labels, nil)
	}
	registry.MustRegister(&collector{
		watch:            w,
		sent:             desc("liveness_probes_total", "Questions to other nodes whether they answer for an address, by kind.", "kind"),
		unanswered:       desc("liveness_probes_unanswered_total", "Of those by which nodes are judged, the ones that were never answered, by kind.", "kind"),
		voided:           desc("liveness_voided_rounds_total", "Turns that came late, so that what was missed in them doesn't count."),
		unproven:         desc("liveness_unproven_verdicts_total", "Silences that were not believed, as nobody else was heard on the interface either."),
		addresses:        desc("watched_addresses", "Addresses of other nodes that are watched on the wire."),
		peers:            desc("watched_peers", "Nodes (by interface and purpose) that they are behind."),
		neighbours:       desc("neighbours", "Neighbour nodes that are watched by their own address."),
		silentNeighbours: desc("silent_neighbours", "Neighbour nodes that no longer answer."),
	})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.sent, c.unanswered, c.voided, c.unproven, c.addresses, c.peers, c.neighbours, c.silentNeighbours} {
		to <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	stats := c.watch.Stats()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	for _, kind := range []liveness.Kind{liveness.Echo, liveness.Solicit} {
		send(c.sent, prometheus.CounterValue, float64(stats.Sent[kind]), kind.String())
		send(c.unanswered, prometheus.CounterValue, float64(stats.Unanswered[kind]), kind.String())
	}
	send(c.voided, prometheus.CounterValue, float64(stats.Voided))
	send(c.unproven, prometheus.CounterValue, float64(stats.Unproven))
	send(c.addresses, prometheus.GaugeValue, float64(stats.Addresses))
	send(c.peers, prometheus.GaugeValue, float64(stats.Peers))
	send(c.neighbours, prometheus.GaugeValue, float64(stats.Neighbours))
	send(c.silentNeighbours, prometheus.GaugeValue, float64(stats.SilentNeighbours))
}

var _ prometheus.Collector = (*collector)(nil)

package relay

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"evenkeel.io/evenkeel/announcer/handoff"
)

// Stats of a Relay. Counters grow; gauges are as of the last look at the kernel, which is every 10 s.
type Stats struct {
	// Entries are the pairs of a VIP and an earlier owner that is served, and Flows what was handed on of late.
	Entries, Flows int
	// Packets and Bytes handed on, and copies that were Refused because they came from a peer or were copies already.
	Packets, Bytes, Refused float64
	// Ended counts entries by why they ended, and Cut the flows of late that those had: an upper bound of the connections that were
	// reset.
	Ended, Cut map[handoff.Reason]float64

	last map[netip.Addr]handoff.Use
}

// count takes the kernel's counters, which begin anew when an element has timed out.
func (s *Stats) count(uses map[netip.Addr]handoff.Use) {
	s.Flows = 0
	for addr, now := range uses {
		before := s.last[addr]
		s.Packets += grown(before.Packets, now.Packets)
		s.Bytes += grown(before.Bytes, now.Bytes)
		s.Refused += grown(before.Refused, now.Refused)
		s.Flows += now.Flows
	}
	s.last = uses
}

func grown(before, now uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}

// Stats returns a copy.
func (r *Relay) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Entries, s.Ended, s.Cut, s.last = len(r.have.Entries), maps.Clone(s.Ended), maps.Clone(s.Cut), nil
	return s
}

// collector reads a Relay's counts when it is asked. None has a label per VIP or node.
type collector struct {
	relay                                          *Relay
	entries, flows, packets, bytes, refused, ended *prometheus.Desc
	cut                                            *prometheus.Desc
}

// Register registers the metrics of a Relay.
func Register(registry prometheus.Registerer, r *Relay) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("evenkeel_announcer_handoff_"+name, help, labels, nil)
	}
	registry.MustRegister(&collector{
		relay:   r,
		entries: desc("entries", "Earlier owners of this node's VIPs, each per VIP, that established connections are handed on to."),
		flows:   desc("flows", "Connections that were handed on within the last --handoff-idle."),
		packets: desc("packets_total", "Packets of established connections that were handed on to earlier owners."),
		bytes:   desc("bytes_total", "Bytes of those packets, from the IP header on."),
		refused: desc("refused_packets_total", "Packets that were dropped because they had been handed on already, or came from another node."),
		ended:   desc("ended_total", "Entries that ended, by reason.", "reason"),
		cut:     desc("cut_flows_total", "Connections of late that entries had when they ended for another reason than quiet or a further move, by reason: at most so many were reset.", "reason"),
	})
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.entries, c.flows, c.packets, c.bytes, c.refused, c.ended, c.cut} {
		to <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	stats := c.relay.Stats()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	send(c.entries, prometheus.GaugeValue, float64(stats.Entries))
	send(c.flows, prometheus.GaugeValue, float64(stats.Flows))
	send(c.packets, prometheus.CounterValue, stats.Packets)
	send(c.bytes, prometheus.CounterValue, stats.Bytes)
	send(c.refused, prometheus.CounterValue, stats.Refused)
	for _, reason := range slices.Sorted(maps.Keys(stats.Ended)) {
		send(c.ended, prometheus.CounterValue, stats.Ended[reason], string(reason))
	}
	for _, reason := range slices.Sorted(maps.Keys(stats.Cut)) {
		send(c.cut, prometheus.CounterValue, stats.Cut[reason], string(reason))
	}
}

var _ prometheus.Collector = (*collector)(nil)

package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"net/netip"

	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/place"
)

// Metrics of an agent. None has a label per VIP, so their number doesn't grow with VIPs.
type Metrics struct {
	held      prometheus.Gauge
	guarded   prometheus.Gauge
	Conflicts prometheus.Counter
	Defences  prometheus.Counter
	Restores  prometheus.Counter
	// Superseded counts addresses that this node let go of, as another one had claimed them by a higher title, and Assertions how
	// often it told others that they no longer have one of its own.
	Superseded, Assertions prometheus.Counter
	Losses                 *prometheus.CounterVec
	// Takeovers by reason, and how long they took from the first unanswered probe to the bound address.
	Takeovers       *prometheus.CounterVec
	TakeoverSeconds prometheus.Histogram
}

// NewMetrics registers an agent's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		held:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "evenkeel_announcer_held_addresses", Help: "Addresses that this node has bound and announces."}),
		guarded:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "evenkeel_announcer_guarded_addresses", Help: "Addresses of other nodes that this node would take over: their owner was heard on the wire and is watched."}),
		Conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_announcer_conflicts_total", Help: "Frames and probe answers by which another machine claimed an address of ours."}),
		Defences:  prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_announcer_defences_total", Help: "Announcements sent to defend an address against another machine (RFC 5227)."}),
		Restores:  prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_announcer_restores_total", Help: "Addresses put back after something else on the node had deleted them."}),
		Losses:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_announcer_losses_total", Help: "Addresses lost because their lease ran out or their interface went, by reason."}, []string{"reason"}),
	}
	m.Superseded = prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_announcer_superseded_total", Help: "Addresses that this node gave up because another node of the cluster claimed them by a higher title."})
	m.Assertions = prometheus.NewCounter(prometheus.CounterOpts{Name: "evenkeel_announcer_assertions_total", Help: "Announcements repeated because another node of the cluster still spoke for an address of this one."})
	m.Takeovers = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "evenkeel_announcer_takeovers_total", Help: "VIPs that this node took over as their standby, by reason."}, []string{"reason"})
	m.TakeoverSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "evenkeel_announcer_takeover_duration_seconds", Help: "From the first unanswered probe of a VIP to its address bound here.",
		Buckets: []float64{0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 2, 3, 5},
	})
	registry.MustRegister(m.held, m.guarded, m.Conflicts, m.Defences, m.Restores, m.Losses, m.Superseded, m.Assertions, m.Takeovers, m.TakeoverSeconds)
	return m
}

// count sets how many addresses are held and guarded.
func (m *Metrics) count(places map[netip.Addr]*placeState) {
	held, guarded := 0, 0
	for _, p := range places {
		switch {
		case p.State() == place.Held:
			held++
		case p.OnGuard():
			guarded++
		}
	}
	m.held.Set(float64(held))
	m.guarded.Set(float64(guarded))
}

// AnnouncementMetrics count what is sent.
type AnnouncementMetrics struct {
	frames *prometheus.CounterVec
}

// NewAnnouncementMetrics registers the metrics of announcements.
func NewAnnouncementMetrics(registry prometheus.Registerer) *AnnouncementMetrics {
	m := &AnnouncementMetrics{frames: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "evenkeel_announcer_announcement_frames_total",
		Help: "Gratuitous ARP and unsolicited neighbour advertisement frames, by result.",
	}, []string{"result"})}
	registry.MustRegister(m.frames)
	return m
}

// Observe counts one announcement.
func (m *AnnouncementMetrics) Observe(result announce.Result) {
	outcome := "sent"
	if result.Err != nil {
		outcome = "failed"
	}
	m.frames.WithLabelValues(outcome).Add(float64(max(result.Frames, 1)))
}

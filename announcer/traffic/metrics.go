package traffic

import "github.com/prometheus/client_golang/prometheus"

// Register registers a node's totals. None has a label per VIP: the figures of each are in the node's VIPNodeTraffic.
func Register(registry prometheus.Registerer, t *Traffic) {
	total := func(name, help string, of func(Counts) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "evenkeel_announcer_traffic_" + name + "_total", Help: help},
			func() float64 { return float64(of(t.Totals())) })
	}
	registry.MustRegister(
		total("bytes", "Bytes that came in for this node's VIPs and went out from them, from the IP header on; read every 5 s.", func(c Counts) uint64 { return c.Bytes }),
		total("packets", "Packets of the same, as the kernel handles them.", func(c Counts) uint64 { return c.Packets }),
		total("connections", "Connections to this node's VIPs that began.", func(c Counts) uint64 { return c.Connections }),
	)
}

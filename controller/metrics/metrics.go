// Package metrics shows how evenly VIPs are spread. All is read from caches when it is asked for; nothing is labelled by VIP.
package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
)

var (
	vips = prometheus.NewDesc("evenkeel_vips",
		"Placeholders bound to the node, by role: the VIPs it announces (active) or guards (standby).", []string{"node", "role"}, nil)
	weighted = prometheus.NewDesc("evenkeel_weighted_load",
		"Sum of the weights of the placeholders bound to the node, by role.", []string{"node", "role"}, nil)
	spread = prometheus.NewDesc("evenkeel_load_spread",
		"Largest minus smallest weighted load of active VIPs among the nodes that may announce (a VIPNode with a healthy data plane).", nil, nil)
	pending = prometheus.NewDesc("evenkeel_pending_vips",
		"Services that wait for an address, plus VIPs in use that no node announces.", nil, nil)
	addresses = prometheus.NewDesc("evenkeel_pool_addresses",
		"Addresses of a pool by family (ipv4, ipv6) and state (assigned, withheld, available), each capped at 2^53.", []string{"pool", "family", "state"}, nil)
)

// scrapeTimeout bounds a scrape; caches answer at once.
const scrapeTimeout = 5 * time.Second

// Collector collects the metrics of a leader. It is safe for concurrent use.
type Collector struct {
	// Reader is the cache.
	Reader    client.Reader
	Namespace string
	Ledger    *ledger.Ledger
	// Waiting counts the Services that wait for an address.
	Waiting func() int
	// Elected is closed when this process leads. Before, nothing is shown: two replicas would count every VIP twice.
	Elected <-chan struct{}
}

var _ prometheus.Collector = (*Collector)(nil)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{vips, weighted, spread, pending, addresses} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-c.Elected:
	default:
		return
	}
	select {
	case <-c.Ledger.Ready():
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout) // the interface has no context
	defer cancel()
	c.nodes(ctx, ch)
	c.pools(ctx, ch)
	waiting := c.Waiting()
	for _, vip := range c.Ledger.VIPs() {
		if len(vip.Spec.Services) > 0 && vip.Status.Node == "" {
			waiting++
		}
	}
	ch <- prometheus.MustNewConstMetric(pending, prometheus.GaugeValue, float64(waiting))
}

func (c *Collector) nodes(ctx context.Context, ch chan<- prometheus.Metric) {
	var pods corev1.PodList
	var nodes v1alpha1.VIPNodeList
	if err := c.Reader.List(ctx, &pods, client.InNamespace(c.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		ch <- prometheus.NewInvalidMetric(vips, err)
		return
	}
	if err := c.Reader.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		ch <- prometheus.NewInvalidMetric(spread, err)
		return
	}
	held := Count(pods.Items, nodes.Items)
	for node, h := range held {
		for role, n := range h {
			ch <- prometheus.MustNewConstMetric(vips, prometheus.GaugeValue, float64(n.VIPs), node, string(role))
			ch <- prometheus.MustNewConstMetric(weighted, prometheus.GaugeValue, float64(n.Weight), node, string(role))
		}
	}
	ch <- prometheus.MustNewConstMetric(spread, prometheus.GaugeValue, float64(Spread(held, nodes.Items)))
}

func (c *Collector) pools(ctx context.Context, ch chan<- prometheus.Metric) {
	var pools v1alpha1.VIPPoolList
	if err := c.Reader.List(ctx, &pools, client.UnsafeDisableDeepCopy); err != nil {
		ch <- prometheus.NewInvalidMetric(addresses, err)
		return
	}
	for i := range pools.Items {
		name := pools.Items[i].Name
		for family, usage := range c.Ledger.Pool(name).Usage {
			label := map[ipam.Family]string{ipam.IPv4: "ipv4", ipam.IPv6: "ipv6"}[family]
			for state, n := range map[string]int64{"assigned": usage.Assigned, "withheld": usage.Withheld, "available": usage.Available} {
				ch <- prometheus.MustNewConstMetric(addresses, prometheus.GaugeValue, float64(n), name, label, state)
			}
		}
	}
}

// Held counts what a node holds in one role.
type Held struct{ VIPs, Weight int64 }

// Count counts the placeholders of every node that has any or could have: nodes without one are shown with 0.
func Count(pods []corev1.Pod, nodes []v1alpha1.VIPNode) map[string]map[placeholder.Role]Held {
	held := map[string]map[placeholder.Role]Held{}
	of := func(node string) map[placeholder.Role]Held {
		if held[node] == nil {
			held[node] = map[placeholder.Role]Held{placeholder.Active: {}, placeholder.Standby: {}}
		}
		return held[node]
	}
	for i := range nodes {
		of(nodes[i].Name)
	}
	for i := range pods {
		pod := &pods[i]
		if pod.Spec.NodeName == "" || !placeholder.Is(pod) || placeholder.Ended(pod) {
			continue
		}
		role := placeholder.RoleOf(pod)
		weight := load.Of(pod)
		if role == placeholder.Standby { // weighs nothing until it takes over
			weight, _ = placeholder.Weight(pod)
		}
		h := of(pod.Spec.NodeName)[role]
		of(pod.Spec.NodeName)[role] = Held{VIPs: h.VIPs + 1, Weight: h.Weight + weight}
	}
	return held
}

// Spread is the largest minus the smallest active load among the nodes that may announce.
func Spread(held map[string]map[placeholder.Role]Held, nodes []v1alpha1.VIPNode) int64 {
	var least, most int64
	first := true
	for i := range nodes {
		if meta.IsStatusConditionFalse(nodes[i].Status.Conditions, v1alpha1.NodeDataPlaneHealthy) {
			continue
		}
		weight := held[nodes[i].Name][placeholder.Active].Weight
		if first {
			least, most, first = weight, weight, false
		}
		least, most = min(least, weight), max(most, weight)
	}
	return most - least
}

package rebalancer

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
)

// shape is what moves depend on: where VIPs are and which nodes may take them.
type shape struct {
	vips  map[string]string
	nodes map[string]bool
}

// follow notes when the cluster changed, but for what we asked for ourselves, and since when nodes have been able.
func (r *Rebalancer) follow(nodes fleet.Fleet, vips []*v1alpha1.VIP, now time.Time) {
	next := shape{vips: map[string]string{}, nodes: map[string]bool{}}
	for _, vip := range vips {
		next.vips[vip.Name] = vip.Status.Node
		if before, known := r.last.vips[vip.Name]; known && vip.Spec.Move != nil { // it is on its way, and may already be there
			next.vips[vip.Name] = before
		}
	}
	// Taints that some pool tolerates don't matter; a cordon is told apart from them.
	for name, n := range nodes.For(fleet.Demand{Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}}}) {
		able := n.Able && !n.Sick && !n.Closed && n.Suspicion == ""
		next.nodes[name] = able
		if before, known := r.last.nodes[name]; able && known && !before {
			r.able[name] = now
		}
	}
	if !maps.Equal(next.vips, r.last.vips) || !maps.Equal(next.nodes, r.last.nodes) {
		if now.Sub(r.changed) >= calm {
			r.stirred = now
		}
		r.changed = now
	}
	r.last = next
	maps.DeleteFunc(r.able, func(name string, _ time.Time) bool { _, there := next.nodes[name]; return !there })
}

// unrest is for how much longer nothing is concluded from what is seen, because it keeps changing.
func (r *Rebalancer) unrest(now time.Time) time.Duration {
	return max(0, min(r.changed.Add(calm).Sub(now), r.stirred.Add(calmAtMost).Sub(now)))
}

package rebalancer

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// measureEvery is how often traffic is read while VIPs are uneven.
const measureEvery = time.Minute

// traffic is what VIPs carry in bytes a second, as it was read at a moment.
type traffic struct {
	bytes map[string]int64
	read  time.Time
}

// measure reads what VIPs carry, unless that was done a moment ago. It says whether it did.
func (r *Rebalancer) measure(ctx context.Context, now time.Time) bool {
	if r.Traffic == nil || now.Sub(r.traffic.read) < measureEvery {
		return false
	}
	r.traffic = traffic{read: now}
	var nodes v1alpha1.VIPNodeTrafficList
	if err := r.Traffic.List(ctx, &nodes); err != nil { // announcers that don't measure; a cluster without the CRD
		klog.FromContext(ctx).V(2).Info("Evening out without knowing what VIPs carry", "err", err)
		return false
	}
	meter := load.NewMeter()
	for i := range nodes.Items {
		meter.Observe(&nodes.Items[i])
	}
	r.traffic.bytes = meter.Read(now, 0).Rates()
	return true
}

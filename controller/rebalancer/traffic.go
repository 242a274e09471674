package rebalancer

import (
	"context"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	// measureEvery is how often traffic is read while VIPs are uneven.
	measureEvery = time.Minute
	// staleTraffic is how old figures may be before they are as good as none.
	staleTraffic = 5 * time.Minute
)

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
	r.traffic = traffic{bytes: map[string]int64{}, read: now}
	var nodes v1alpha1.VIPNodeTrafficList
	if err := r.Traffic.List(ctx, &nodes); err != nil { // announcers that don't measure; a cluster without the CRD
		klog.FromContext(ctx).V(2).Info("Evening out without knowing what VIPs carry", "err", err)
		return false
	}
	for i := range nodes.Items {
		status := &nodes.Items[i].Status
		if now.Sub(status.MeasuredAt.Time) >= staleTraffic {
			continue
		}
		for _, vip := range status.VIPs {
			r.traffic.bytes[vip.Name] += vip.BytesPerSecond
		}
	}
	return true
}

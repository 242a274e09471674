package vip

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
)

// noEndpoints is what is said of a VIP that is withdrawn.
const noEndpoints = "No pod of the Service is ready, and none that is ending still serves (externalTrafficPolicy is Local)"

// local is where the Services with traffic policy Local have endpoints. Services may be nil.
func (r *Reconciler) local(services ...*corev1.Service) endpoints.Local {
	var local endpoints.Local
	for _, s := range services {
		if s != nil && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
			local = append(local, r.Endpoints.Of(types.NamespacedName{Namespace: s.Namespace, Name: s.Name}))
		}
	}
	return local
}

// localOf is local of the Services that a VIP names. One that can't be read is left out: its own reconciliation follows.
func (r *Reconciler) localOf(ctx context.Context, vip *v1alpha1.VIP) endpoints.Local {
	var services []*corev1.Service
	for _, ref := range vip.Spec.Services {
		var s corev1.Service
		if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &s); err == nil && s.UID == ref.UID {
			services = append(services, &s)
		}
	}
	return r.local(services...)
}

func announces(pod *corev1.Pod) bool {
	c := placeholder.ConditionOf(pod, placeholder.ConditionAnnounced)
	return c != nil && c.Status == corev1.ConditionTrue
}

// withdraw ends a VIP's announcement: its placeholders let go at once and go.
func (r *Reconciler) withdraw(ctx context.Context, turn *place.Turn, d failover.Decision) error {
	pods := slices.Concat(turn.Standbys, turn.Surplus)
	if turn.Live != nil {
		pods = append([]*corev1.Pod{turn.Live}, pods...) // first whom the packets reach
	}
	for _, pod := range pods {
		now, ok := d.Delete[pod.Name]
		if !ok {
			continue
		}
		klog.FromContext(ctx).Info("Withdrawing a VIP that no node has an endpoint for", "pod", klog.KObj(pod), "node", pod.Spec.NodeName)
		if placeholder.RoleOf(pod) == placeholder.Active || announces(pod) {
			if err := turn.Release(ctx, pod); err != nil {
				return err
			}
		}
		if err := turn.Delete(ctx, pod, now); err != nil {
			return err
		}
	}
	return nil
}

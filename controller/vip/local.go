package vip

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
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

// servicesOf reads the Services that a VIP names. One that can't be read is left out: its own reconciliation follows.
func (r *Reconciler) servicesOf(ctx context.Context, vip *v1alpha1.VIP) []*corev1.Service {
	var services []*corev1.Service
	for _, ref := range vip.Spec.Services {
		var s corev1.Service
		if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &s); err == nil && s.UID == ref.UID {
			services = append(services, &s)
		}
	}
	return services
}

func announces(pod *corev1.Pod) bool {
	c := placeholder.ConditionOf(pod, placeholder.ConditionAnnounced)
	return c != nil && c.Status == corev1.ConditionTrue
}

// warnStranded tells of a VIP that reaches nobody where it is and has nowhere to go.
func (r *Reconciler) warnStranded(s place.Subject, v failover.View) {
	node, about := failover.Stranded(v), "stranded/"+s.VIP.Name
	for _, service := range s.Services() {
		if node == "" {
			r.Teller.Settle(service.UID, about)
			continue
		}
		r.Teller.TellOnce(service, about, strandedEvent(s, node))
	}
}

func strandedEvent(s place.Subject, node string) serving.Event {
	return serving.Event{Warning: true, Reason: "NoEligibleNode", Action: "Move",
		Note: fmt.Sprintf("%s stays on %s, which has no ready pod of the Service any more (externalTrafficPolicy is Local), because none of the nodes that have one "+
			"can announce it. Run pods on nodes that can, or see what keeps the others from it (kubectl get vipnodes, the pool's nodeSelector, the label %s). It moves by itself then",
			strings.Join(s.VIP.Spec.Addresses, " and "), node, corev1.LabelNodeExcludeBalancers)}
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

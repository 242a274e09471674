package serving

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/written"
)

// Statuses writes the status of Services: the ingress addresses and our condition, each without touching the other.
type Statuses struct {
	Client  client.Client
	Written *written.Tracker
}

// Patch changes a Service's status as change does to a copy of it, by one request, or none where nothing changes. It reports
// whether it wrote. A Service that the cache shows older than our last write is left for the reconciliation that its newer
// state brings.
func (s Statuses) Patch(ctx context.Context, service *corev1.Service, change func(*corev1.ServiceStatus)) (bool, error) {
	if s.Written.Stale(service) {
		return false, nil
	}
	next := service.DeepCopy()
	change(&next.Status)
	if equality.Semantic.DeepEqual(service.Status, next.Status) {
		return false, nil
	}
	// A strategic merge names only the conditions that change, so two writers can't undo each other's.
	if err := s.Client.Status().Patch(ctx, next, client.StrategicMergeFrom(service)); err != nil {
		return false, fmt.Errorf("patching status of Service %s/%s: %w", service.Namespace, service.Name, err)
	}
	s.Written.Wrote(next)
	return true, nil
}

// SetIngress makes the addresses, in their order, the whole ingress.
func SetIngress(status *corev1.ServiceStatus, addrs []netip.Addr) {
	mode := corev1.LoadBalancerIPModeVIP
	ingress := make([]corev1.LoadBalancerIngress, len(addrs))
	for i, addr := range addrs {
		ingress[i] = corev1.LoadBalancerIngress{IP: addr.String(), IPMode: &mode}
	}
	status.LoadBalancer.Ingress = ingress
}

// SetAnnounced sets our condition.
func SetAnnounced(status *corev1.ServiceStatus, announced metav1.ConditionStatus, reason, message string, now metav1.Time) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: v1alpha1.ServiceAnnounced, Status: announced, Reason: reason, Message: message, LastTransitionTime: now,
	})
}

// Clear removes what we wrote from the status of a Service that is no longer ours: our condition and, by its evidence, the
// ingress. Where the condition is missing the ingress is somebody else's.
func Clear(status *corev1.ServiceStatus) {
	if meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ServiceAnnounced) {
		status.LoadBalancer.Ingress = nil
	}
}

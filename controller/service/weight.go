package service

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/serving"
)

// weight is what the Service's VIP is to weigh. A weight that can't be read is told about and counts as none.
func (r *Reconciler) weight(service *corev1.Service) int64 {
	weight, err := placeholder.Weight(service)
	if err != nil {
		r.Teller.TellOnce(service, "weight", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Place",
			Note: fmt.Sprintf("%v. The VIP counts 1", err)})
		return 1
	}
	r.Teller.Settle(service.UID, "weight")
	return weight
}

// weigh has the VIP weigh what its Services ask for: the largest, where several use it. Nothing moves for it: the next placements go by it.
func (r *Reconciler) weigh(ctx context.Context, service *corev1.Service, vip *v1alpha1.VIP) error {
	weight := r.weight(service)
	for _, ref := range vip.Spec.Services {
		var other corev1.Service
		err := r.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &other)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading Service %s/%s: %w", ref.Namespace, ref.Name, err)
		}
		if err == nil && other.UID == ref.UID && other.UID != service.UID {
			asked, _ := placeholder.Weight(&other) // its own turn reports the mistake
			weight = max(weight, asked)
		}
	}
	if max(1, vip.Spec.Weight) == weight {
		return nil
	}
	next := vip.DeepCopy()
	next.Spec.Weight = weight
	if err := r.Client.Patch(ctx, next, client.MergeFrom(vip)); err != nil {
		return fmt.Errorf("writing the weight of VIP %s: %w", vip.Name, err)
	}
	r.Ledger.ObserveVIP(next)
	klog.FromContext(ctx).Info("A VIP's weight has changed", "vip", vip.Name, "from", max(1, vip.Spec.Weight), "to", weight)
	return nil
}

// Package serving says which Services are ours, and speaks to their owners: by status, and by events that are told once.
package serving

import corev1 "k8s.io/api/core/v1"

// Class is which Services the controller serves.
type Class struct {
	// Name is the loadBalancerClass.
	Name string
	// Default: Services without a class are served too.
	Default bool
}

// Wants says whether the Service is to have a VIP: a Service that is being deleted no longer is.
func (c Class) Wants(service *corev1.Service) bool {
	if service.DeletionTimestamp != nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return false
	}
	if service.Spec.LoadBalancerClass == nil {
		return c.Default
	}
	return *service.Spec.LoadBalancerClass == c.Name
}

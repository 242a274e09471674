package service

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
)

// sharingKey reads the annotation that lets a Service share its address with others. Our own wins.
func sharingKey(s *corev1.Service) string {
	return cmp.Or(s.Annotations[placeholder.AnnotationSharing], s.Annotations[placeholder.ForeignMetalLBSharing])
}

// takerOf describes a Service to the ledger.
func takerOf(s *corev1.Service) ledger.Taker {
	ports := place.Ports(s)
	slices.SortFunc(ports, func(a, b placeholder.Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return ledger.Taker{NamespacedName: client.ObjectKeyFromObject(s), UID: s.UID, Sharing: ipam.Sharing{
		Key: sharingKey(s), Ports: ports,
		Local:    s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Selector: labels.Set(s.Spec.Selector).String(),
	}}
}

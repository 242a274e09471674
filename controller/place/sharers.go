package place

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Services are all Services that use the VIP, as far as they are known, in the order in which they joined.
func (s Subject) Services() []*corev1.Service {
	if s.Service == nil {
		return nil
	}
	return append([]*corev1.Service{s.Service}, s.Sharers...)
}

// ports lists the ports of all of them.
func (s Subject) ports() []placeholder.Port {
	var list []placeholder.Port
	for _, service := range s.Services() {
		list = append(list, Ports(service)...)
	}
	return list
}

// Ports lists a Service's own ports: they are what packets to its VIPs are addressed to.
func Ports(service *corev1.Service) []placeholder.Port {
	list := make([]placeholder.Port, 0, len(service.Spec.Ports))
	for _, port := range service.Spec.Ports {
		protocol := string(port.Protocol)
		if protocol == "" {
			protocol = string(corev1.ProtocolTCP)
		}
		list = append(list, placeholder.Port{Protocol: strings.ToLower(protocol), Port: uint16(port.Port)})
	}
	return list
}

// users names the Services that a VIP records.
func users(vip *v1alpha1.VIP) string {
	names := make([]types.NamespacedName, len(vip.Spec.Services))
	for i, ref := range vip.Spec.Services {
		names[i] = types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	}
	return placeholder.FormatServices(names)
}

package place

import (
	"fmt"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
)

// spreadGroup is the value of the label that has the VIPs of one Service keep to different nodes: the scheduler prefers those that
// announce fewest of the group. Empty: the VIP is its Service's only one. Of several Services that share VIPs the first decides.
func (s Subject) spreadGroup() string {
	if s.Service == nil {
		return ""
	}
	if n, err := VIPs(s.Service); err != nil || n < 2 {
		return ""
	}
	hash := fnv.New64a()
	hash.Write([]byte(s.Service.UID)) // it never fails
	return fmt.Sprintf("service-%016x", hash.Sum64())
}

// VIPs reads how many addresses of each family a Service asks for.
func VIPs(service *corev1.Service) (int, error) {
	text, ok := service.Annotations[placeholder.AnnotationVIPs]
	if !ok {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > placeholder.MaxVIPs {
		return 1, fmt.Errorf("annotation %s: %q is not a whole number from 1 to %d", placeholder.AnnotationVIPs, text, placeholder.MaxVIPs)
	}
	return n, nil
}

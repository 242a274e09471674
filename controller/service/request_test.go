package service

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/ipam"
)

func wishing(policy corev1.IPFamilyPolicy, families []corev1.IPFamily, annotations map[string]string, loadBalancerIP string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: annotations},
		Spec: corev1.ServiceSpec{IPFamilies: families, IPFamilyPolicy: &policy, LoadBalancerIP: loadBalancerIP}}
}

var (
	only4 = []corev1.IPFamily{corev1.IPv4Protocol}
	both  = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
)

func TestParseWish(t *testing.T) {
	const single, prefer, require = corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack
	tests := []struct {
		name      string
		service   *corev1.Service
		families  []ipam.Family
		all       bool
		addresses string
		pool      string
		err       string
	}{
		{name: "nothing asked for", service: wishing(single, only4, nil, ""), families: []ipam.Family{ipam.IPv4}},
		{name: "families keep their order", service: wishing(prefer, both, nil, ""), families: []ipam.Family{ipam.IPv6, ipam.IPv4}},
		{name: "both are required", service: wishing(require, both, nil, ""), families: []ipam.Family{ipam.IPv6, ipam.IPv4}, all: true},
		{name: "no families yet: the cluster IP tells", service: &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "fd00::1"}}, families: []ipam.Family{ipam.IPv6}},
		{name: "our pool annotation wins over the foreign one", service: wishing(single, only4, map[string]string{placeholder.AnnotationPool: "a", placeholder.ForeignMetalLBPool: "b"}, ""), families: []ipam.Family{ipam.IPv4}, pool: "a"},
		{name: "the foreign pool annotation", service: wishing(single, only4, map[string]string{placeholder.ForeignMetalLBPool: "b"}, ""), families: []ipam.Family{ipam.IPv4}, pool: "b"},
		{name: "spec.loadBalancerIP", service: wishing(single, only4, nil, "192.0.2.1"), families: []ipam.Family{ipam.IPv4}, addresses: "192.0.2.1"},
		{name: "our annotation wins over all", service: wishing(single, only4, map[string]string{placeholder.AnnotationRequested: "192.0.2.2", placeholder.ForeignKubeVIPAddresses: "192.0.2.3"}, "192.0.2.1"), families: []ipam.Family{ipam.IPv4}, addresses: "192.0.2.2"},
		{name: "foreign spellings that agree", service: wishing(prefer, both, map[string]string{placeholder.ForeignMetalLBAddresses: "192.0.2.3, 2001:db8::1", placeholder.ForeignKubeVIPAddresses: "2001:db8::1,192.0.2.3"}, ""), families: []ipam.Family{ipam.IPv6, ipam.IPv4}, addresses: "192.0.2.3,2001:db8::1"},
		{name: "foreign spellings that don't", service: wishing(single, only4, map[string]string{placeholder.ForeignMetalLBAddresses: "192.0.2.3"}, "192.0.2.4"), err: "metallb.io/loadBalancerIPs and spec.loadBalancerIP ask for different addresses"},
		{name: "an address of a family the Service doesn't have", service: wishing(single, only4, nil, "2001:db8::1"), err: "spec.ipFamilies has no IPv6"},
		{name: "one address where two families are required", service: wishing(require, both, nil, "192.0.2.1"), err: "an address of each family"},
		{name: "DHCP", service: wishing(single, only4, map[string]string{placeholder.ForeignKubeVIPAddresses: "0.0.0.0"}, ""), err: "DHCP"},
		{name: "nonsense", service: wishing(single, only4, nil, "x"), err: `spec.loadBalancerIP can't be read: "x" is no address`},
		{name: "multicast", service: wishing(single, only4, nil, "224.0.0.1"), err: "no global unicast"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, err := parseWish(tt.service)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want an error that says %q", err, tt.err)
				}
				return
			}
			if err != nil || !slices.Equal(w.families, tt.families) || w.all != tt.all || placeholder.FormatAddresses(w.addresses) != tt.addresses || w.pool != tt.pool {
				t.Errorf("got %+v, %v", w, err)
			}
		})
	}
}

func FuzzParseWish(f *testing.F) {
	f.Add("192.0.2.1,2001:db8::1", "192.0.2.1", "key")
	f.Add("0.0.0.0", "::ffff:192.0.2.1", "")
	f.Fuzz(func(t *testing.T, annotation, field, pool string) {
		w, err := parseWish(wishing(corev1.IPFamilyPolicyPreferDualStack, both, map[string]string{placeholder.ForeignMetalLBAddresses: annotation, placeholder.AnnotationPool: pool}, field))
		if err != nil {
			return
		}
		for _, addr := range w.addresses {
			if placeholder.Announceable(addr) != nil {
				t.Fatalf("%q and %q ask for %s, which can't be announced", annotation, field, addr)
			}
		}
	})
}

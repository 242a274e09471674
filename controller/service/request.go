// Package service gives Services their addresses.
package service

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
)

// wish is what a Service asks for.
type wish struct {
	families  []ipam.Family
	all       bool
	addresses []netip.Addr
	pool      string
	// count is how many addresses of each family are wanted.
	count int
	// shown are the addresses in the Service's status, which say in what order it got them.
	shown []netip.Addr
}

// parseWish reads a Service's fields and annotations. Our own annotation wins over foreign ones and over
// spec.loadBalancerIP; these must not contradict each other.
func parseWish(s *corev1.Service) (wish, error) {
	w := wish{families: families(s), count: 1, shown: ledger.IngressAddresses(s)}
	w.all = s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack
	if w.all && len(w.families) == 1 { // spec.ipFamilies isn't filled yet
		w.families = append(w.families, map[ipam.Family]ipam.Family{ipam.IPv4: ipam.IPv6, ipam.IPv6: ipam.IPv4}[w.families[0]])
	}
	w.pool = s.Annotations[placeholder.AnnotationPool]
	if w.pool == "" {
		w.pool = s.Annotations[placeholder.ForeignMetalLBPool]
	}
	source, addrs, err := askedAddresses(s)
	if err != nil {
		return w, err
	}
	for _, addr := range addrs {
		if !slices.Contains(w.families, ipam.FamilyOf(addr)) {
			return w, fmt.Errorf("%s asks for %s, but the Service's spec.ipFamilies has no %s", source, addr, ipam.FamilyOf(addr))
		}
	}
	if w.all && len(addrs) == 1 {
		return w, fmt.Errorf("%s asks for %s alone, but the Service's ipFamilyPolicy is RequireDualStack: ask for an address of each family", source, addrs[0])
	}
	w.addresses = addrs
	return w, nil
}

// families lists the Service's IP families. The API server fills spec.ipFamilies; where it didn't, the cluster IP tells.
func families(s *corev1.Service) []ipam.Family {
	var list []ipam.Family
	for _, family := range s.Spec.IPFamilies {
		if family == corev1.IPv6Protocol {
			list = append(list, ipam.IPv6)
		} else {
			list = append(list, ipam.IPv4)
		}
	}
	if len(list) == 0 {
		if addr, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil {
			return []ipam.Family{ipam.FamilyOf(addr)}
		}
		return []ipam.Family{ipam.IPv4}
	}
	return list
}

// askedAddresses returns the addresses asked for and where, or none.
func askedAddresses(s *corev1.Service) (source string, addrs []netip.Addr, err error) {
	if text := s.Annotations[placeholder.AnnotationRequested]; text != "" {
		addrs, err = readAsked(placeholder.AnnotationRequested, text)
		return placeholder.AnnotationRequested, addrs, err
	}
	for _, asked := range []struct{ source, text string }{
		{placeholder.ForeignMetalLBAddresses, s.Annotations[placeholder.ForeignMetalLBAddresses]},
		{placeholder.ForeignKubeVIPAddresses, s.Annotations[placeholder.ForeignKubeVIPAddresses]},
		{"spec.loadBalancerIP", s.Spec.LoadBalancerIP},
	} {
		if asked.text == "" {
			continue
		}
		these, err := readAsked(asked.source, asked.text)
		if err != nil {
			return asked.source, nil, err
		}
		if source != "" && !sameAddresses(addrs, these) {
			return source, nil, fmt.Errorf("%s and %s ask for different addresses", source, asked.source)
		}
		if source == "" {
			source, addrs = asked.source, these
		}
	}
	return source, addrs, nil
}

func readAsked(source, text string) ([]netip.Addr, error) {
	if strings.TrimSpace(text) == "0.0.0.0" { // kube-vip's way to ask for DHCP
		return nil, errors.New(source + " asks for an address by DHCP, which isn't supported: ask for an address, or remove it")
	}
	addrs, err := placeholder.ParseAddresses(text)
	if err != nil {
		return nil, fmt.Errorf("%s can't be read: %w", source, err)
	}
	return addrs, nil
}

func sameAddresses(a, b []netip.Addr) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(addr netip.Addr) bool { return !slices.Contains(b, addr) })
}

// serves returns those of a VIP's addresses that the Service's families want, in the families' order.
func (w wish) serves(addrs []netip.Addr) []netip.Addr {
	var served []netip.Addr
	for _, family := range w.families {
		for _, addr := range addrs {
			if ipam.FamilyOf(addr) == family {
				served = append(served, addr)
			}
		}
	}
	return served
}

package ledger

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/controller/ipam"
)

// ObserveEndpoints takes in an EndpointSlice. Those of Service default/kubernetes list where the API servers are reached: a VIP of
// such an address, announced by a node, would cut the cluster off from its control plane.
func (l *Ledger) ObserveEndpoints(slice *discoveryv1.EndpointSlice) {
	if !endpoints.OfAPIServer(slice) {
		return
	}
	var addrs []netip.Addr
	for _, endpoint := range slice.Endpoints {
		addrs = append(addrs, parsed(endpoint.Addresses)...)
	}
	l.withhold(ipam.KindAPIServer, slice.Name, addrs)
}

// ForgetEndpoints takes in an EndpointSlice's deletion.
func (l *Ledger) ForgetEndpoints(slice *discoveryv1.EndpointSlice) {
	if endpoints.OfAPIServer(slice) {
		l.release(ipam.KindAPIServer, slice.Name)
	}
}

// ObserveService takes in a Service: the API server's cluster IPs are never handed out either.
func (l *Ledger) ObserveService(service *corev1.Service) {
	if client.ObjectKeyFromObject(service) == endpoints.APIServer() {
		l.withhold(ipam.KindAPIServer, clusterIPClaim, parsed(service.Spec.ClusterIPs))
	}
}

// clusterIPClaim is no name of an EndpointSlice.
const clusterIPClaim = "cluster IPs of kubernetes"

// IsAPIServer says whether the API server is reached by an address.
func (l *Ledger) IsAPIServer(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.claims.On(addr), func(claim ipam.Claim) bool { return claim.Kind == ipam.KindAPIServer })
}

func parsed(texts []string) []netip.Addr {
	var addrs []netip.Addr
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	return addrs
}

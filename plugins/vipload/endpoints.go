package vipload

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// serviceIndex finds the EndpointSlices of a Service by namespace/name.
const serviceIndex = "evenkeel.io/service"

// serviceOf returns the Service that an EndpointSlice belongs to; false for slices of nobody.
func serviceOf(slice *discoveryv1.EndpointSlice) (types.NamespacedName, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return types.NamespacedName{Namespace: slice.Namespace, Name: name}, name != ""
}

func indexByService(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, nil
	}
	service, ok := serviceOf(slice)
	if !ok {
		return nil, nil
	}
	return []string{service.String()}, nil
}

// endpointIndex is the part of a cache.Indexer that is used.
type endpointIndex interface {
	ByIndex(indexName, indexedValue string) ([]any, error)
}

var _ endpointIndex = cache.Indexer(nil)

// localNodes are the nodes with a ready endpoint of a Service, per address family.
type localNodes map[discoveryv1.AddressType]map[string]struct{}

// readyEndpoints finds the nodes that serve a Service with traffic policy Local.
//
// Ready is what kube-proxy goes by: serving and not terminating, or any endpoint when the Service publishes addresses that
// are not ready, because the EndpointSlice controller sets it so (discovery/v1 EndpointConditions). Absent means ready.
func readyEndpoints(index endpointIndex, service types.NamespacedName) (localNodes, error) {
	slices, err := index.ByIndex(serviceIndex, service.String())
	if err != nil {
		return nil, err
	}
	nodes := localNodes{}
	for _, obj := range slices {
		slice := obj.(*discoveryv1.EndpointSlice)
		for _, endpoint := range slice.Endpoints {
			if endpoint.NodeName == nil || (endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready) {
				continue
			}
			if nodes[slice.AddressType] == nil {
				nodes[slice.AddressType] = map[string]struct{}{}
			}
			nodes[slice.AddressType][*endpoint.NodeName] = struct{}{}
		}
	}
	return nodes, nil
}

// serves says whether a node has a ready endpoint for each of the addresses' families. A family without any endpoint in
// the whole cluster doesn't count while the other has some: no placement could serve it.
func (l localNodes) serves(node string, addrs []netip.Addr) bool {
	served := false
	for _, addr := range addrs {
		nodes, ok := l[addressType(addr)]
		if !ok {
			continue
		}
		if _, ok := nodes[node]; !ok {
			return false
		}
		served = true
	}
	return served
}

func addressType(addr netip.Addr) discoveryv1.AddressType {
	if addr.Is4() {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

// apiServerService is the Service whose endpoints kube-apiserver keeps: the addresses of the API servers.
var apiServerService = types.NamespacedName{Namespace: "default", Name: "kubernetes"}

// reachesAPIServer says whether an API server is reached by the address. A VIP that the controller gives never is; a person may
// write any address into a placeholder.
func reachesAPIServer(index endpointIndex, addr netip.Addr) (bool, error) {
	slices, err := index.ByIndex(serviceIndex, apiServerService.String())
	if err != nil {
		return false, err
	}
	for _, obj := range slices {
		for _, endpoint := range obj.(*discoveryv1.EndpointSlice).Endpoints {
			for _, text := range endpoint.Addresses {
				if found, err := netip.ParseAddr(text); err == nil && found.Unmap() == addr {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

package vipload

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"evenkeel.io/evenkeel/api/endpoints"
)

// serviceIndex finds the EndpointSlices of a Service by namespace/name.
const serviceIndex = "evenkeel.io/service"

func indexByService(obj any) ([]string, error) {
	slice, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, nil
	}
	service, ok := endpoints.ServiceOf(slice)
	if !ok {
		return nil, nil
	}
	return []string{service.String()}, nil
}

// strip keeps of EndpointSlices what is read. Nobody else in the scheduler reads them.
func strip(obj any) (any, error) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
		endpoints.Strip(slice)
	}
	return obj, nil
}

// endpointIndex is the part of a cache.Indexer that is used.
type endpointIndex interface {
	ByIndex(indexName, indexedValue string) ([]any, error)
}

var _ endpointIndex = cache.Indexer(nil)

// servedBy finds the nodes that serve Services with traffic policy Local.
func servedBy(index endpointIndex, services ...types.NamespacedName) (endpoints.Local, error) {
	var local endpoints.Local
	for _, service := range services {
		objs, err := index.ByIndex(serviceIndex, service.String())
		if err != nil {
			return nil, err
		}
		slices := make([]*discoveryv1.EndpointSlice, 0, len(objs))
		for _, obj := range objs {
			slices = append(slices, obj.(*discoveryv1.EndpointSlice))
		}
		local = append(local, endpoints.Of(slices...))
	}
	return local, nil
}

// reachesAPIServer says whether an API server is reached by the address. A VIP that the controller gives never is; a person may
// write any address into a placeholder.
func reachesAPIServer(index endpointIndex, addr netip.Addr) (bool, error) {
	slices, err := index.ByIndex(serviceIndex, endpoints.APIServer().String())
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

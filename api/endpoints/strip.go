package endpoints

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Strip leaves of an EndpointSlice what this package reads, and one endpoint for each node and state: slices are the largest objects
// of many clusters, and what is kept is a few bytes for each node. Those of the API server, which are of no node, keep their addresses.
// It changes the slice.
func Strip(slice *discoveryv1.EndpointSlice) {
	var labels map[string]string
	if service, ok := ServiceOf(slice); ok {
		labels = map[string]string{discoveryv1.LabelServiceName: service.Name}
	}
	slice.ObjectMeta = metav1.ObjectMeta{
		Namespace: slice.Namespace, Name: slice.Name, UID: slice.UID, ResourceVersion: slice.ResourceVersion, Labels: labels,
	}
	if OfAPIServer(slice) {
		return
	}
	type place struct {
		node string
		state
	}
	seen := map[place]bool{}
	var kept []discoveryv1.Endpoint
	for _, endpoint := range slice.Endpoints {
		if endpoint.NodeName == nil {
			continue
		}
		p := place{*endpoint.NodeName, stateOf(endpoint.Conditions)}
		if p.state == isDown || seen[p] {
			continue
		}
		seen[p] = true
		kept = append(kept, discoveryv1.Endpoint{NodeName: endpoint.NodeName, Conditions: endpoint.Conditions})
	}
	slice.Endpoints, slice.Ports = kept, nil
}

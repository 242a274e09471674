// Package endpoints is the one answer to which nodes serve a Service whose externalTrafficPolicy is Local: the scheduler's filter
// and the controller, which has VIPs follow their endpoints, read it from here.
package endpoints

import (
	"net/netip"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// ServiceOf returns the Service that an EndpointSlice belongs to; false for slices of nobody.
func ServiceOf(slice *discoveryv1.EndpointSlice) (types.NamespacedName, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return types.NamespacedName{Namespace: slice.Namespace, Name: name}, name != ""
}

// OfAPIServer says whether a slice lists where the API servers are reached: it is of Service default/kubernetes, whose endpoints
// kube-apiserver itself keeps (pkg/controlplane/reconcilers).
func OfAPIServer(slice *discoveryv1.EndpointSlice) bool {
	service, ok := ServiceOf(slice)
	return ok && service == APIServer()
}

// APIServer is the Service by which pods reach the API server.
func APIServer() types.NamespacedName {
	return types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}
}

// Nodes are the nodes that serve a Service, by address family; a family without any is absent. Nothing changes them.
type Nodes map[discoveryv1.AddressType]sets.Set[string]

// Of reads the EndpointSlices of one Service: the nodes with a ready endpoint, and of a family where no node has one, those with an
// endpoint that is terminating and still serves. kube-proxy sends packets there then (KEP-1669), and without this fallback a
// VIP would leave the last pod before its connections have drained.
func Of(slices ...*discoveryv1.EndpointSlice) Nodes {
	ready, draining := Nodes{}, Nodes{}
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			if endpoint.NodeName == nil {
				continue // local to no node
			}
			switch stateOf(endpoint.Conditions) {
			case isReady:
				ready.add(slice.AddressType, *endpoint.NodeName)
			case isDraining:
				draining.add(slice.AddressType, *endpoint.NodeName)
			}
		}
	}
	for family, nodes := range draining {
		if ready[family].Len() == 0 {
			ready[family] = nodes
		}
	}
	return ready
}

func (n Nodes) add(family discoveryv1.AddressType, node string) {
	if n[family] == nil {
		n[family] = sets.New[string]()
	}
	n[family].Insert(node)
}

// Equal says whether both are the same nodes.
func (n Nodes) Equal(other Nodes) bool {
	if len(n) != len(other) {
		return false
	}
	for family, nodes := range n {
		if !nodes.Equal(other[family]) {
			return false
		}
	}
	return true
}

// state of an endpoint as kube-proxy takes it.
type state int

const (
	isDown state = iota
	isReady
	isDraining // terminating, and serves until it has ended
)

// stateOf reads conditions. Ready is what kube-proxy goes by: serving and not terminating, or any endpoint when the Service
// publishes addresses that are not ready, because the EndpointSlice controller sets it so (discovery/v1 EndpointConditions). An
// absent ready or serving means yes, an absent terminating no (pkg/proxy/endpointslicecache.go).
func stateOf(c discoveryv1.EndpointConditions) state {
	switch {
	case c.Ready == nil || *c.Ready:
		return isReady
	case (c.Serving == nil || *c.Serving) && c.Terminating != nil && *c.Terminating:
		return isDraining
	}
	return isDown
}

// Local are the nodes that serve a VIP's Services with externalTrafficPolicy Local, an entry for each of them. Without an entry any
// node does.
type Local []Nodes

// Serves says whether a node has an endpoint of each Service, in each of the addresses' families. A Service's family without any
// endpoint in the whole cluster doesn't count while another has some: no placement could serve it.
func (l Local) Serves(node string, addrs []netip.Addr) bool {
	served := len(l) == 0
	for _, nodes := range l {
		for _, addr := range addrs {
			with, ok := nodes[familyOf(addr)]
			if !ok {
				continue
			}
			if !with.Has(node) {
				return false
			}
			served = true
		}
	}
	return served
}

// Any says whether any node serves any of the Services in a family of the addresses, so that there is a point in announcing them.
func (l Local) Any(addrs []netip.Addr) bool {
	for _, nodes := range l {
		for _, addr := range addrs {
			if nodes[familyOf(addr)].Len() > 0 {
				return true
			}
		}
	}
	return len(l) == 0
}

func familyOf(addr netip.Addr) discoveryv1.AddressType {
	if addr.Is4() {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

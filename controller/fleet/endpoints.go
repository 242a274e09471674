package fleet

import (
	"maps"
	"slices"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/endpoints"
)

// Endpoints follows which nodes serve which Service by what a watch shows, so that nothing is listed when a VIP is looked at. It is
// safe for concurrent use.
type Endpoints struct {
	mu     sync.Mutex
	byName map[types.NamespacedName]*discoveryv1.EndpointSlice
	byUser map[types.NamespacedName]*served
	told   []func(service types.NamespacedName)
}

// served is one Service's slices by name, and what they amount to, which is never changed once it was handed out.
type served struct {
	slices map[string]*discoveryv1.EndpointSlice
	nodes  endpoints.Nodes
}

// NewEndpoints returns Endpoints that know of none yet.
func NewEndpoints() *Endpoints {
	return &Endpoints{byName: map[types.NamespacedName]*discoveryv1.EndpointSlice{}, byUser: map[types.NamespacedName]*served{}}
}

// OnChange calls f after each change of the nodes that serve a Service. A change that leaves them the same, as most of a
// rollout's, is none. It must not be called once the Endpoints are in use.
func (e *Endpoints) OnChange(f func(service types.NamespacedName)) { e.told = append(e.told, f) }

// Of returns the nodes that serve a Service. They must not be changed.
func (e *Endpoints) Of(service types.NamespacedName) endpoints.Nodes {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.byUser[service]; s != nil {
		return s.nodes
	}
	return nil
}

// Observe takes in a slice, which must not be changed afterwards.
func (e *Endpoints) Observe(slice *discoveryv1.EndpointSlice) { e.change(nameOf(slice), slice) }

// Forget takes in a slice's deletion.
func (e *Endpoints) Forget(slice *discoveryv1.EndpointSlice) { e.change(nameOf(slice), nil) }

func nameOf(slice *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: slice.Namespace, Name: slice.Name}
}

// change replaces a slice, nil by none, and tells of the Services that have other nodes now: two where the slice went from one to
// another.
func (e *Endpoints) change(name types.NamespacedName, next *discoveryv1.EndpointSlice) {
	e.mu.Lock()
	users := map[types.NamespacedName]bool{}
	if before := e.byName[name]; before != nil {
		if service, ok := endpoints.ServiceOf(before); ok {
			users[service] = true
			delete(e.byUser[service].slices, name.Name)
		}
	}
	delete(e.byName, name)
	if next != nil {
		if service, ok := endpoints.ServiceOf(next); ok {
			users[service] = true
			if e.byUser[service] == nil {
				e.byUser[service] = &served{slices: map[string]*discoveryv1.EndpointSlice{}}
			}
			e.byUser[service].slices[name.Name] = next
			e.byName[name] = next
		}
	}
	var changed []types.NamespacedName
	for service := range users {
		s := e.byUser[service]
		now := endpoints.Of(slices.Collect(maps.Values(s.slices))...)
		if !now.Equal(s.nodes) {
			s.nodes = now
			changed = append(changed, service)
		}
		if len(s.slices) == 0 {
			delete(e.byUser, service)
		}
	}
	e.mu.Unlock()
	for _, service := range changed {
		for _, f := range e.told {
			f(service)
		}
	}
}

package main

import (
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// demand is what a VIP asks of a node, but for endpoints.
func (s snapshot) demand(vip *v1alpha1.VIP) fleet.Demand {
	subject := place.Subject{VIP: vip}
	for i := range s.pools {
		if s.pools[i].Name == vip.Spec.Pool {
			subject.Pool = &s.pools[i]
		}
	}
	for i := range s.services {
		if len(vip.Spec.Services) > 0 && s.services[i].UID == vip.Spec.Services[0].UID {
			subject.Service = &s.services[i]
		}
	}
	needs := place.NeedsOf(subject)
	demand := fleet.Demand{Addresses: ledger.Addresses(vip), Tolerations: needs.Tolerations, Nodes: &needs.Nodes, Particular: needs.Particular}
	if subject.Pool != nil {
		demand.Interfaces, demand.Selector = subject.Pool.Spec.Interfaces, subject.Pool.Spec.NodeSelector
	}
	return demand
}

// never returns a function that says whether a Service of a VIP keeps it where it is.
func (s snapshot) never() func(*v1alpha1.VIP) bool {
	kept := map[types.NamespacedName]bool{}
	for i := range s.services {
		service := &s.services[i]
		kept[types.NamespacedName{Namespace: service.Namespace, Name: service.Name}], _ = policy.NeverRebalanced(service.Annotations)
	}
	return func(vip *v1alpha1.VIP) bool {
		for _, ref := range vip.Spec.Services {
			if kept[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}] {
				return true
			}
		}
		return false
	}
}

// rates are the bytes a second that VIPs carry, each and all together, as far as they have been measured lately.
func (s snapshot) rates() (bytes map[string]int64, all int64) {
	meter := load.NewMeter()
	for i := range s.traffic {
		meter.Observe(&s.traffic[i])
	}
	reading := meter.Read(s.now, 0)
	return reading.Rates(), reading.Total()
}

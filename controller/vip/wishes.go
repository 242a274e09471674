package vip

import (
	"fmt"
	"strings"

	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
	"evenkeel.io/evenkeel/controller/wishes"
)

// warnWishes tells the Service's owner about wishes that can't be read, and about a VIP that is where it should no longer be for
// want of a better place. (Of one that has no place yet the scheduler says why: see warning.)
func (r *Reconciler) warnWishes(s place.Subject, v failover.View) {
	if _, mistakes := wishes.Of(s.Service); len(mistakes) > 0 {
		r.Teller.TellOnce(s.Service, "wishes", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Place", Note: strings.Join(mistakes, "; ")})
	} else {
		r.Teller.Settle(s.Service.GetUID(), "wishes")
	}
	if note := nowhereToGo(v); note != "" {
		r.Teller.TellOnce(s.Service, "nowhere", serving.Event{Warning: true, Reason: "NoEligibleNode", Action: "Place",
			Note: strings.Join(s.VIP.Spec.Addresses, " and ") + note})
	} else {
		r.Teller.Settle(s.Service.GetUID(), "nowhere")
	}
}

// nowhereToGo says that a VIP stays on a node that its Service or its pool no longer selects, as none that they do can have it.
func nowhereToGo(v failover.View) string {
	if v.Live == nil || v.Live.Node == "" || v.Nodes[v.Live.Node].Why != failover.NotSelected {
		return ""
	}
	for _, node := range v.Nodes {
		if node.Able && !node.Sick && node.Suspicion == "" {
			return "" // there it goes
		}
	}
	return fmt.Sprintf(" stays on %s: no node that its node selector, or its pool's, allows can announce it. It moves by itself as soon as one can", v.Live.Node)
}

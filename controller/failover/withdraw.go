package failover

import "evenkeel.io/evenkeel/api/v1alpha1"

// Reasons why a VIP with traffic policy Local isn't guarded.
const (
	// NoEndpoints: no node has an endpoint that is ready, nor one that still serves. It isn't announced either.
	NoEndpoints = v1alpha1.ReasonNoEndpoints
	// NoOtherEndpoint: only the node that announces the VIP has one, of those that can have the VIP.
	NoOtherEndpoint = "NoOtherEndpoint"
)

// withdraw ends the announcement of a VIP that no node serves: clients are told by the silence that there is nobody, and a node that
// would only drop their packets isn't where they go. One active placeholder stays, without a node: the scheduler places it as soon as
// an endpoint appears. It keeps the VIP's place in the queue and says why it waits.
func (v View) withdraw(d *Decision) {
	if v.Live != nil && v.Live.justPlaced() {
		return // its report brings us back
	}
	for _, pod := range append(append([]Pod{}, v.Standbys...), v.Surplus...) {
		d.Delete[pod.Name] = v.node(pod.Node).silent()
	}
	if v.Live != nil && v.Live.Node != "" {
		d.Delete[v.Live.Name] = v.node(v.Live.Node).silent()
	}
	d.Withdraw = len(d.Delete) > 0
	if !d.Withdraw && v.Live == nil {
		d.CreateActive, d.Why = true, WhyEndpoints
	}
}

// Stranded names the node that a VIP stays on though it has no endpoint of its Services, as no node that can have the VIP has one;
// empty: it doesn't.
func Stranded(v View) string {
	if v.Unserved || v.Live == nil || !v.node(v.Live.Node).unserved() {
		return ""
	}
	for _, node := range v.Nodes {
		if node.fit() {
			return "" // there it goes
		}
	}
	return v.Live.Node
}

// justPlaced: the scheduler has chosen its node, and its announcer hasn't had the time to report. The scheduler has a watch of its own:
// it may know of an endpoint that we don't know of yet.
func (p Pod) justPlaced() bool { return p.Node != "" && !p.Reported && !p.Overdue }

// onlyEndpointsMissing counts the nodes where another placeholder might be placed if they had endpoints.
func (v View) onlyEndpointsMissing() int {
	n := 0
	for name, node := range v.Nodes {
		if node.unserved() && !node.Sick && !node.Closed && node.Suspicion == "" && (v.Live == nil || name != v.Live.Node) {
			n++
		}
	}
	return n
}

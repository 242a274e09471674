package vipload

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

// Filter passes the nodes that could announce the VIP now. Where several things are amiss, the one that takes longest to
// change is named.
func (pl *VIPLoad) Filter(_ context.Context, cycle fwk.CycleState, _ *corev1.Pod, nodeInfo fwk.NodeInfo) *fwk.Status {
	state, err := readPreFilterState(cycle)
	if err != nil {
		return fwk.AsStatus(err)
	}
	node := nodeInfo.Node()
	facts, ok := pl.nodes.get(node.Name)
	if !ok {
		return noAnnouncer.status()
	}
	// The label's presence counts, whatever its value (as in the cloud providers' service controller, KEP-1143).
	if _, ok := node.Labels[corev1.LabelNodeExcludeBalancers]; ok && !pl.ignoreExcludeLabel {
		return excluded.status()
	}
	if _, ok := node.Labels[placeholder.LabelEvacuate]; ok {
		return evacuated.status()
	}
	if r, refused := refusals[facts.Refuses(state.Addresses, state.Interfaces)]; refused {
		return r.status()
	}
	if facts.Suspect {
		return suspected.status()
	}
	if facts.Sick {
		return sickDataPlane.status()
	}
	if !state.local.Serves(node.Name, state.Addresses) {
		return noEndpoint.status()
	}
	here := pl.tally.of(nodeInfo, state.remember)
	if _, held := here.VIPs[state.VIP]; held {
		return sameVIP.status()
	}
	return pl.limits(state, node, here)
}

// limits refuses a node that holds as many active VIPs as it or the pool allows. For a standby that is what the node would hold after
// the loss of the active's node.
func (pl *VIPLoad) limits(state *preFilterState, node *corev1.Node, here load.Node) *fwk.Status {
	most, _ := placeholder.NodeLimit(node) // the controller reports the mistake
	limits := load.Limits{Pool: state.Pool, OfPool: state.MaxVIPsPerNode, OfNode: most}
	switch pool, node := here.Full(limits, state.counts[state.active], state.after[node.Name].Inherits); {
	case pool:
		return poolFull.status()
	case node:
		pl.limited.Store(true)
		return nodeFull.status()
	}
	return nil
}

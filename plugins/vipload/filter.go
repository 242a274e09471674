package vipload

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

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
	if state.Local && !state.local.serves(node.Name, state.Addresses) {
		return noEndpoint.status()
	}
	if _, held := pl.tally.of(nodeInfo, state.remember).VIPs[state.VIP]; held {
		return sameVIP.status()
	}
	return nil
}

package load

import (
	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Node is what the placeholders on a node amount to.
type Node struct {
	// Load is the weight of the active ones, Actives their number.
	Load, Actives int64
	// Capacity is the node's share of the load beside others'; 0 counts as 1. Count leaves it alone.
	Capacity int64
	// VIPs that have a placeholder here which hasn't ended, by name; nil when there are none.
	VIPs map[string]Held
}

// Held is a VIP's place on a node.
type Held struct {
	Standby bool
	Weight  int64
	// Pool of the VIP.
	Pool string
	// Since is when the placeholder was made, in seconds since 1970. It orders a VIP's standbys: the earlier one takes over.
	Since int64
	// Term of the placeholder: of two actives the higher one is the VIP's.
	Term int64
	// Leaving: another standby is about to take its place, so that it counts as nobody's heir.
	Leaving bool
}

// Count adds a pod to its node. Pods that are no placeholders, or have ended, change nothing.
func (n *Node) Count(pod *corev1.Pod) {
	vip, ok := pod.Labels[placeholder.LabelVIP] // the one look-up that nearly all pods cost
	if !ok {
		return
	}
	if !placeholder.Is(pod) || placeholder.Ended(pod) {
		return
	}
	if n.VIPs == nil {
		n.VIPs = map[string]Held{}
	}
	weight, _ := placeholder.Weight(pod)
	standby := placeholder.RoleOf(pod) == placeholder.Standby
	if !standby {
		n.Load += weight
		n.Actives++
	}
	n.VIPs[vip] = Held{
		Standby: standby, Weight: weight, Pool: pod.Annotations[placeholder.AnnotationPool],
		Since: pod.CreationTimestamp.Unix(), Term: placeholder.Term(pod),
		Leaving: pod.Annotations[placeholder.AnnotationLeaving] == "true",
	}
}

// After is a node's load after the loss of another.
type After struct {
	Load int64
	// Inherits are the VIPs that it takes over, in no order.
	Inherits []string
	// Shared is the weight of the standbys here of VIPs that are active on the lost node.
	Shared int64
}

// AfterLoss says what each node carries once the VIPs of a lost node are with their first standbys. Standbys that are on the lost
// node too or about to leave, and VIPs without one, count nowhere.
func AfterLoss(lost string, nodes map[string]Node) map[string]After {
	after := make(map[string]After, len(nodes))
	for name, node := range nodes {
		if name == lost {
			continue
		}
		a := After{Load: node.Load}
		for vip := range node.VIPs {
			if node.standsBy(vip, nodes[lost]) {
				a.Shared += node.VIPs[vip].Weight
			}
		}
		after[name] = a
	}
	for vip, heir := range Heirs(lost, nodes) {
		a := after[heir]
		a.Load += nodes[lost].VIPs[vip].Weight
		a.Inherits = append(a.Inherits, vip)
		after[heir] = a
	}
	return after
}

// Heirs says which node takes over each of the VIPs that are active on a node: that of the standby that stands by longest.
func Heirs(lost string, nodes map[string]Node) map[string]string {
	heirs := map[string]string{}
	for name, node := range nodes {
		if name == lost {
			continue
		}
		for vip, held := range node.VIPs {
			if !node.standsBy(vip, nodes[lost]) {
				continue
			}
			heir, ok := heirs[vip]
			if since := nodes[heir].VIPs[vip].Since; !ok || held.Since < since || held.Since == since && name < heir {
				heirs[vip] = name
			}
		}
	}
	return heirs
}

// standsBy says whether a standby here is for a VIP that is active on the other node.
func (n Node) standsBy(vip string, other Node) bool {
	held, there := n.VIPs[vip], other.VIPs[vip]
	_, ok := other.VIPs[vip]
	return ok && !there.Standby && held.Standby && !held.Leaving
}

package survey

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// UnderWay of a VIP: something of it is changing, so that it isn't moved on top of that.
const UnderWay policy.Reason = "UnderWay"

// newFor is for how long a node counts as one that joined or came back.
const newFor = time.Hour

// place is where a VIP is.
type place struct {
	active   *corev1.Pod // of the highest term that hasn't ended
	actives  int
	standbys []string
	changing bool // a placeholder is about to go, or hasn't a node yet
}

// sortOut finds each VIP's places.
func sortOut(pods []corev1.Pod) map[string]*place {
	places := map[string]*place{}
	for i := range pods {
		pod := &pods[i]
		if !placeholder.Is(pod) {
			continue
		}
		name := pod.Labels[placeholder.LabelVIP]
		p := places[name]
		if p == nil {
			p = &place{}
			places[name] = p
		}
		switch {
		case placeholder.Ended(pod) || pod.Spec.NodeName == "":
			p.changing = true
		case placeholder.RoleOf(pod) == placeholder.Standby:
			p.standbys = append(p.standbys, pod.Spec.NodeName)
		default:
			if p.actives++; p.active == nil || placeholder.Term(pod) > placeholder.Term(p.active) {
				p.active = pod
			}
		}
	}
	return places
}

// settled says whether a VIP has one active, which announces, and nothing of it is on the move.
func (p *place) settled() bool {
	c := placeholder.ConditionOf(p.active, placeholder.ConditionAnnounced)
	return p.actives == 1 && !p.changing && c != nil && c.Status == corev1.ConditionTrue && c.Reason != placeholder.ReasonTookOver
}

// snapshot is the cluster without what VIPs ask of nodes, which takes longest to find out.
func (s *surveyor) snapshot() rebalance.Snapshot {
	shot := rebalance.Snapshot{Nodes: map[string]rebalance.Node{}, VIPs: map[string]rebalance.VIP{}}
	for name, node := range s.nodes {
		since := s.Able(name)
		shot.Nodes[name] = rebalance.Node{
			Closed: !open(node) || s.settles(name, since),
			Joined: !since.IsZero() && s.Now.Sub(since) < newFor,
		}
	}
	for _, p := range s.pools {
		if !p.still() && (shot.Threshold == 0 || p.policy.Threshold < shot.Threshold) {
			shot.Threshold = p.policy.Threshold
		}
	}
	for name, p := range s.places {
		if p.active == nil {
			continue
		}
		weight, _ := placeholder.Weight(p.active)
		vip := rebalance.VIP{Weight: weight, Active: p.active.Spec.NodeName, Standbys: p.standbys, Traffic: s.Traffic[name]}
		object := s.vips[name]
		if object != nil && object.Spec.Move != nil { // it counts where it will be
			if _, known := shot.Nodes[object.Spec.Move.To]; known {
				vip.Active = object.Spec.Move.To
			}
		}
		vip.Held = s.hold(name, object, p)
		shot.VIPs[name] = vip
	}
	return shot
}

// hold says in a word why a VIP isn't moved; empty: it may be.
func (s *surveyor) hold(name string, vip *v1alpha1.VIP, at *place) string {
	if vip == nil || vip.DeletionTimestamp != nil || vip.Spec.ReleasedAt != nil {
		return "Unmanaged"
	}
	p := s.pools[vip.Spec.Pool]
	if p == nil {
		return "NoPool"
	}
	if p.still() {
		return string(p.hold.Reason)
	}
	if vip.Spec.Move != nil || !at.settled() {
		s.heldVIPs[name] = policy.Hold{Reason: UnderWay, Message: "its places are changing"}
		return string(UnderWay)
	}
	candidate := policy.Candidate{VIP: name, Never: s.Never(vip), Moved: policy.MovedAt(vip), Bytes: s.Traffic[name], AllBytes: s.total}
	if held := p.policy.HoldsVIP(candidate, p.situation, s.Now); held != nil {
		s.heldVIPs[name] = *held
		return string(held.Reason)
	}
	return ""
}

// settles says whether a node has not been able for long enough under any pool's policy.
func (s *surveyor) settles(node string, since time.Time) bool {
	var first *policy.Hold
	for _, name := range s.names {
		held := s.pools[name].policy.HoldsNode(since, s.Now)
		if held == nil {
			return false
		}
		if first == nil || held.Until.Before(first.Until) {
			first = held
		}
	}
	if first == nil {
		return false
	}
	s.settling[node] = *first
	return true
}

// allow fills in where each VIP may go, also those that are held: which nodes are compared hangs on it.
func (s *surveyor) allow(shot rebalance.Snapshot) {
	for name, vip := range shot.VIPs {
		object := s.vips[name]
		if object == nil || s.pools[object.Spec.Pool] == nil {
			continue
		}
		demand, known := s.Demand(object)
		if !known {
			continue
		}
		p := s.pools[object.Spec.Pool]
		for node, n := range s.Nodes.For(demand) {
			if !open(n) {
				continue
			}
			if held := p.policy.HoldsNode(s.Able(node), s.Now); held != nil {
				s.settling[node] = *held
				continue
			}
			vip.Allowed = append(vip.Allowed, node)
		}
		shot.VIPs[name] = vip
	}
}

// open: a new placeholder may be placed there.
func open(n failover.Node) bool { return n.Able && !n.Sick && !n.Closed && n.Suspicion == "" }

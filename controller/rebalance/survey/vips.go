package survey

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// UnderWay of a VIP: something of it is changing, so that it isn't moved on top of that.
const UnderWay policy.Reason = "UnderWay"

// Preferences of a VIP: the scheduler weighs these before the load, so that moving it to even out might undo them.
const Preferences policy.Reason = "Preferences"

const (
	// newFor is for how long a node counts as one that joined or came back.
	newFor = time.Hour
	// waitForStandby is how long a standby that has no node yet is waited for: one for which there is no room keeps nobody.
	waitForStandby = 30 * time.Second
)

// place is where a VIP is.
type place struct {
	active   *corev1.Pod // of the highest term that hasn't ended
	actives  int
	standbys []string
	changing bool // a placeholder is about to go, or hasn't a node yet
}

// sortOut finds each VIP's places.
func sortOut(pods []corev1.Pod, now time.Time) map[string]*place {
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
		standby := placeholder.RoleOf(pod) == placeholder.Standby
		switch {
		case placeholder.Ended(pod):
			p.changing = true
		case pod.Spec.NodeName == "":
			p.changing = p.changing || !standby || now.Sub(pod.CreationTimestamp.Time) < waitForStandby
		case standby:
			p.standbys = append(p.standbys, pod.Spec.NodeName)
		default:
			if p.actives++; p.active == nil || placeholder.Term(pod) > placeholder.Term(p.active) {
				p.active = pod
			}
		}
	}
	return places
}

// actives are a node's VIPs, all and by pool.
type actives struct {
	all   int64
	pools map[string]int64
}

// count counts what nodes announce.
func (s *surveyor) count() {
	s.active = map[string]*actives{}
	for name, p := range s.places {
		if p.active == nil {
			continue
		}
		on := s.active[p.active.Spec.NodeName]
		if on == nil {
			on = &actives{pools: map[string]int64{}}
			s.active[p.active.Spec.NodeName] = on
		}
		on.all++
		if vip := s.vips[name]; vip != nil {
			on.pools[vip.Spec.Pool]++
		}
	}
}

// settled says whether a VIP has one active, which announces, and nothing of it is on the move.
func (p *place) settled() bool {
	c := placeholder.ConditionOf(p.active, placeholder.ConditionAnnounced)
	return p.actives == 1 && !p.changing && c != nil && c.Status == corev1.ConditionTrue && c.Reason != placeholder.ReasonTookOver
}

// snapshots are the cluster as it may be evened out now, and as it may be once all nodes have settled: the first is planned with, the
// second says whether anything is uneven. Where VIPs may go and which are held is left open, which takes longest to find out.
func (s *surveyor) snapshots() (now, later rebalance.Snapshot) {
	now = rebalance.Snapshot{Nodes: map[string]rebalance.Node{}, VIPs: map[string]rebalance.VIP{}}
	later = rebalance.Snapshot{Nodes: map[string]rebalance.Node{}, VIPs: map[string]rebalance.VIP{}}
	for name, node := range s.nodes {
		since := s.Able(name)
		n := rebalance.Node{Capacity: s.Nodes.Capacity(name), Closed: !open(node), Joined: !since.IsZero() && s.Now.Sub(since) < newFor}
		later.Nodes[name] = n
		n.Closed = n.Closed || s.settles(since)
		now.Nodes[name] = n
	}
	for i, name := range s.names {
		if threshold := s.pools[name].policy.Threshold; i == 0 || threshold < now.Threshold {
			now.Threshold = threshold
		}
	}
	later.Threshold = now.Threshold
	for name, p := range s.places {
		if p.active == nil {
			continue
		}
		weight, _ := placeholder.Weight(p.active)
		vip := rebalance.VIP{Weight: weight, Active: p.active.Spec.NodeName, Standbys: p.standbys, Traffic: s.Traffic[name]}
		if object := s.vips[name]; object != nil && object.Spec.Move != nil {
			if _, known := now.Nodes[object.Spec.Move.To]; known { // it counts where it will be
				vip.Standbys = rebalance.Move{From: vip.Active, To: object.Spec.Move.To}.Standbys(vip.Standbys)
				vip.Active = object.Spec.Move.To
			}
		}
		now.VIPs[name], later.VIPs[name] = vip, vip
	}
	return now, later
}

// hold marks the VIPs that aren't moved.
func (s *surveyor) hold(shot rebalance.Snapshot, areas regions) {
	for name, vip := range shot.VIPs {
		vip.Held = s.holdOf(name, areas.of(vip.Active))
		shot.VIPs[name] = vip
	}
}

// holdOf says in a word why a VIP isn't moved; empty: it may be.
func (s *surveyor) holdOf(name string, area *rebalance.Area) string {
	vip, at := s.vips[name], s.places[name]
	if vip == nil || vip.DeletionTimestamp != nil || vip.Spec.ReleasedAt != nil {
		return "Unmanaged"
	}
	p := s.pools[vip.Spec.Pool]
	switch {
	case p == nil:
		return "NoPool"
	case p.still():
		return string(p.hold.Reason)
	case !p.uneven(area):
		return "EvenEnough"
	case vip.Spec.Move != nil || !at.settled():
		s.heldVIPs[name] = policy.Hold{Reason: UnderWay, Message: "its places are changing"}
		return string(UnderWay)
	}
	if placeholder.Prefers(at.active) || at.active.Labels[placeholder.LabelSpreadGroup] != "" {
		s.heldVIPs[name] = policy.Hold{Reason: Preferences, Message: "its Service or its pool says where it would rather be, or apart from which others"}
		return string(Preferences)
	}
	candidate := policy.Candidate{VIP: name, Never: s.Never(vip), Moved: policy.MovedAt(vip), Bytes: s.Traffic[name], AllBytes: s.total}
	if held := p.policy.HoldsVIP(candidate, p.situation, s.Now); held != nil {
		s.heldVIPs[name] = *held
		return string(held.Reason)
	}
	return ""
}

// settles says whether a node has not been able for long enough under any pool's policy.
func (s *surveyor) settles(since time.Time) bool {
	return len(s.names) > 0 && !slices.ContainsFunc(s.names, func(name string) bool {
		return s.pools[name].policy.HoldsNode(since, s.Now) == nil
	})
}

// settle notes a node that a pool's VIPs aren't moved to yet; of several pools' times the first counts.
func (s *surveyor) settle(node string, hold policy.Hold) {
	if before, ok := s.settling[node]; !ok || hold.Until.Before(before.Until) {
		s.settling[node] = hold
	}
}

// open: a new placeholder may be placed there.
func open(n failover.Node) bool { return n.Able && !n.Sick && !n.Closed && n.Suspicion == "" }

// Package survey looks at a cluster and says which VIPs are to be moved to even it out, which of these moves may begin now, and what
// holds the others back. It is pure: the controller carries out what it says, and "kubectl evenkeel rebalance --dry-run" prints it.
package survey

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// Cluster is what is looked at. Nothing in it is changed.
type Cluster struct {
	Now   time.Time
	VIPs  []*v1alpha1.VIP
	Pools []*v1alpha1.VIPPool
	// Pods are the placeholders.
	Pods  []corev1.Pod
	Nodes fleet.Fleet
	// Able says since when a node has been able to announce; zero: for long.
	Able func(node string) time.Time
	// Traffic of VIPs in bytes a second, as far as it has been measured lately.
	Traffic map[string]int64
	// Demand says what a VIP asks of nodes; false: it isn't known. VIPs of a pool differ in nothing but their addresses.
	Demand func(vip *v1alpha1.VIP) (fleet.Demand, bool)
	// Never says whether a VIP's Service keeps it where it is.
	Never func(vip *v1alpha1.VIP) bool
	// Defaults of what pools' policies leave open.
	Defaults policy.Policy
}

// Held is what holds back moves of a pool's VIPs, of one VIP, or to a node: the others of Pool, VIP and Node are empty.
type Held struct {
	Pool, VIP, Node string
	policy.Hold
}

// Outlook is what a survey finds.
type Outlook struct {
	rebalance.Proposal
	// Begin are the moves that may begin now, in order.
	Begin []rebalance.Move
	// Pools says how each pool stands.
	Pools map[string]Standing
	// Held is what holds moves back that would even out; empty where none would.
	Held []Held
	// Served are the pools whose request to even out now asks for nothing more.
	Served []string
	// Again is when time alone changes the answer; zero: it doesn't.
	Again time.Time
}

// Standing is how even the nodes are on which a pool has VIPs.
type Standing struct {
	// Even: by the pool's own threshold nothing is to be moved, and no move to even out is under way.
	Even bool
	// Missing is how many moves are planned there, of this pool's VIPs and of others'; UnderWay is how many of its own have begun.
	Missing, UnderWay int
	// Held is what holds moves back there: its own policy first.
	Held []Held
}

// Of surveys a cluster. It takes time in proportion to VIPs and nodes; only where something is uneven it plans.
func Of(c Cluster) Outlook {
	s := newSurveyor(c)
	now, later := s.snapshots()
	out := Outlook{Pools: map[string]Standing{}}
	if !rough(later) { // the rule: what VIPs ask of nodes needn't be looked at
		out.Before = later.Distribution()
		out.After = out.Before
		s.stand(&out, regions{}, regions{})
	} else {
		s.allow(now, later)
		before := regionsOf(later)
		s.hold(now, before)
		out.Proposal = rebalance.Plan(now)
		out.Begin = s.begin(out.Moves)
		s.stand(&out, before, regionsOf(later.Apply(out.Moves...)))
	}
	for _, h := range out.Held {
		if !h.Until.IsZero() && (out.Again.IsZero() || h.Until.Before(out.Again)) {
			out.Again = h.Until
		}
	}
	return out
}

// rough says whether two nodes differ by more than is left alone everywhere. Where none do, no area is uneven: an area's limit is at
// least the smallest weight.
func rough(s rebalance.Snapshot) bool {
	lightest := int64(0)
	for _, vip := range s.VIPs {
		if weight := max(1, vip.Weight); lightest == 0 || weight < lightest {
			lightest = weight
		}
	}
	return s.Distribution().Spread() > max(lightest, s.Threshold)
}

// surveyor is one survey under way.
type surveyor struct {
	Cluster
	pools  map[string]*pool
	names  []string // of the pools, in order
	nodes  map[string]failover.Node
	places map[string]*place
	vips   map[string]*v1alpha1.VIP
	active map[string]*actives // by node
	total  int64               // traffic of all VIPs
	// heldVIPs are the VIPs that stay though their pool may move some; settling are the nodes that have not been able for long enough.
	heldVIPs map[string]policy.Hold
	settling map[string]policy.Hold
}

func newSurveyor(c Cluster) *surveyor {
	s := &surveyor{
		Cluster: c, places: sortOut(c.Pods, c.Now), vips: map[string]*v1alpha1.VIP{},
		heldVIPs: map[string]policy.Hold{}, settling: map[string]policy.Hold{},
	}
	for _, bytes := range c.Traffic {
		s.total += bytes
	}
	for _, vip := range c.VIPs {
		s.vips[vip.Name] = vip
	}
	s.count()
	s.readPools()
	s.readNodes()
	return s
}

// readNodes finds what each node is to the VIPs for which it is most: one that only some pool tolerates or selects is still one.
func (s *surveyor) readNodes() {
	s.nodes = s.Nodes.For(fleet.Demand{})
	asked := map[string]bool{}
	for _, vip := range s.VIPs {
		if asked[vip.Spec.Pool] {
			continue
		}
		demand, known := s.Demand(vip)
		if !known {
			continue
		}
		asked[vip.Spec.Pool] = true
		for name, n := range s.Nodes.For(fleet.Demand{Interfaces: demand.Interfaces, Tolerations: demand.Tolerations}) {
			if open(n) {
				s.nodes[name] = n
			}
		}
	}
}

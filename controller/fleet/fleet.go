// Package fleet sees the cluster's nodes as failover and placing of standbys need them: which can announce a VIP, which are
// closed to new ones, sick or suspect.
package fleet

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
)

// NotReadyFor is how long a Node must have been not ready before its VIPs leave it: its kubelet may be restarting, and a node
// whose data plane works serves its VIPs meanwhile.
const NotReadyFor = time.Minute

// When so many nodes fall silent within massWithin that more than half of all are silent, it is more likely the network than
// the nodes: nothing is replaced for up to massHold.
const (
	massWithin = 10 * time.Second
	massHold   = time.Minute
)

// Evacuated is why a node can't announce while somebody wants all VIPs off it.
const Evacuated = failover.WhyEvacuated

// Options of a Fleet.
type Options struct {
	// IgnoreExcludeLabel: nodes labelled node.kubernetes.io/exclude-from-external-load-balancers may announce all the same. It
	// must be what the scheduler's plugin is told.
	IgnoreExcludeLabel bool
}

// Fleet is the nodes at one moment. It is a value: nothing in it changes.
type Fleet struct {
	options Options
	now     time.Time
	members map[string]member
}

// member is one node: what its announcer says and what its Node object does. Either may be nil.
type member struct {
	vipNode *v1alpha1.VIPNode
	facts   eligible.Facts
	node    *corev1.Node
}

// Of makes a Fleet of objects, which must not be changed afterwards.
func Of(vipNodes []v1alpha1.VIPNode, nodes []corev1.Node, o Options, now time.Time) Fleet {
	book := NewBook(o)
	for i := range vipNodes {
		book.ObserveVIPNode(&vipNodes[i])
	}
	for i := range nodes {
		book.ObserveNode(&nodes[i])
	}
	return book.Fleet(now)
}

// Demand is what a VIP asks of a node.
type Demand struct {
	Addresses   []netip.Addr
	Interfaces  []string
	Selector    *metav1.LabelSelector
	Tolerations []corev1.Toleration
	// Local are the nodes that serve its Services whose traffic policy is Local; without such any node does.
	Local endpoints.Local
	// Nodes are those that the node selectors and affinities of its placeholders allow. Nil: all.
	Nodes *nodeaffinity.RequiredNodeAffinity
	// Particular: its own Services ask for some of this, so that other VIPs of its pool may ask for something else.
	Particular bool
}

// Objects are a node's Node and VIPNode, either of which may be nil. They must not be changed.
func (f Fleet) Objects(name string) (*corev1.Node, *v1alpha1.VIPNode) {
	m := f.members[name]
	return m.node, m.vipNode
}

// For says what each node is to a VIP.
func (f Fleet) For(d Demand) map[string]failover.Node {
	selector, err := metav1.LabelSelectorAsSelector(d.Selector)
	if d.Selector == nil || err != nil { // an unreadable selector is in the pool's conditions; the scheduler decides by its own reading
		selector = labels.Everything()
	}
	nodes := make(map[string]failover.Node, len(f.members))
	for name, m := range f.members {
		if m.vipNode == nil {
			continue
		}
		n := failover.Node{Why: f.unable(m, d, selector)}
		n.Able = n.Why == ""
		n.Sick = m.facts.Sick || m.notReady(f.now)
		n.Closed = m.node != nil && (m.node.Spec.Unschedulable || untolerated(m.node.Spec.Taints, d.Tolerations))
		if s := m.vipNode.Spec.Suspect; s != nil {
			n.Suspicion, n.Suspected = s.Reason, f.now.Sub(s.Since.Time)
		}
		nodes[name] = n
	}
	return nodes
}

// Capacity is a node's share of the load beside others'.
func (f Fleet) Capacity(name string) int64 {
	m := f.members[name]
	if m.node == nil {
		return 1
	}
	capacity, _ := placeholder.Capacity(m.node, m.facts.SpeedMbps) // nodenotes reports the mistake
	return capacity
}

// Limit is how many active VIPs a node takes at most; 0: any number.
func (f Fleet) Limit(name string) int64 {
	m := f.members[name]
	if m.node == nil {
		return 0
	}
	most, _ := placeholder.NodeLimit(m.node) // nodenotes reports the mistake
	return most
}

func (f Fleet) unable(m member, d Demand, selector labels.Selector) string {
	if m.node == nil {
		return "NoNode"
	}
	if _, excluded := m.node.Labels[corev1.LabelNodeExcludeBalancers]; excluded && !f.options.IgnoreExcludeLabel {
		return "Excluded"
	}
	if _, evacuated := m.node.Labels[placeholder.LabelEvacuate]; evacuated {
		return Evacuated
	}
	if !selector.Matches(labels.Set(m.node.Labels)) {
		return failover.NotSelected
	}
	if d.Nodes != nil {
		// An unreadable requirement makes the scheduler refuse the placeholder and say so; what is there stays.
		if allowed, err := d.Nodes.Match(m.node); err == nil && !allowed {
			return failover.NotSelected
		}
	}
	if refusal := m.facts.Refuses(d.Addresses, d.Interfaces); refusal != eligible.None {
		return string(refusal)
	}
	// The last one: of a node that lacks nothing else it may be told that pods there would help.
	if !d.Local.Serves(m.node.Name, d.Addresses) {
		return failover.NoEndpoint
	}
	return ""
}

// Hold says whether so many nodes fell silent at once that nothing is to be replaced for now, and for how much longer.
func (f Fleet) Hold() (time.Duration, bool) {
	silent, all := 0, 0
	var first, last time.Time
	for _, m := range f.members {
		if m.vipNode == nil {
			continue
		}
		all++
		s := m.vipNode.Spec.Suspect
		if s == nil || s.Reason != failover.FellSilent {
			continue
		}
		silent++
		if first.IsZero() || s.Since.Time.Before(first) {
			first = s.Since.Time
		}
		if s.Since.After(last) {
			last = s.Since.Time
		}
	}
	left := massHold - f.now.Sub(last)
	return left, silent > 1 && 2*silent > all && last.Sub(first) <= massWithin && left > 0
}

// NextChange is when a node's state changes by the passing of time alone; zero: none does.
func (f Fleet) NextChange() time.Duration {
	var next time.Duration
	for _, m := range f.members {
		if since, ok := m.unready(); ok {
			if left := NotReadyFor - f.now.Sub(since); left > 0 && (next == 0 || left < next) {
				next = left
			}
		}
	}
	return next
}

// unready returns since when the Node hasn't been ready.
func (m member) unready() (time.Time, bool) {
	if m.node == nil {
		return time.Time{}, false
	}
	for _, c := range m.node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return c.LastTransitionTime.Time, true
		}
	}
	return time.Time{}, false
}

func (m member) notReady(now time.Time) bool {
	since, ok := m.unready()
	return ok && now.Sub(since) >= NotReadyFor
}

// untolerated says whether a taint keeps new placeholders off the node.
func untolerated(taints []corev1.Taint, tolerations []corev1.Toleration) bool {
	_, found := corev1helpers.FindMatchingUntoleratedTaint(klog.Background(), taints, tolerations, func(taint *corev1.Taint) bool {
		return taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
	}, false)
	return found
}

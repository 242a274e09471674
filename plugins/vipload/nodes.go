package vipload

import (
	"net/netip"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// nic is a network interface as Filter needs it.
type nic struct {
	name     string
	carrier  bool
	prefixes []netip.Prefix
}

// nodeFacts is what Filter needs of a VIPNode, parsed once per change instead of once per pod and node.
type nodeFacts struct {
	nics    []nic
	sick    bool // the data plane is reported unhealthy
	suspect bool // the controller keeps VIPs off it
}

func (f nodeFacts) equal(other nodeFacts) bool {
	return f.sick == other.sick && f.suspect == other.suspect && slices.EqualFunc(f.nics, other.nics, func(a, b nic) bool {
		return a.name == b.name && a.carrier == b.carrier && slices.Equal(a.prefixes, b.prefixes)
	})
}

// factsOf reads a VIPNode. Addresses that can't be read are left out: they serve no VIP.
func factsOf(node *v1alpha1.VIPNode) nodeFacts {
	// Absent or Unknown is no reason to refuse a node: its announcer may be told not to ask the data plane at all.
	facts := nodeFacts{sick: meta.IsStatusConditionPresentAndEqual(node.Status.Conditions, v1alpha1.NodeDataPlaneHealthy, metav1.ConditionFalse), suspect: node.Spec.Suspect != nil}
	for _, i := range node.Status.Interfaces {
		n := nic{name: i.Name, carrier: i.Carrier}
		for _, address := range i.Addresses {
			if prefix, err := netip.ParsePrefix(address); err == nil {
				n.prefixes = append(n.prefixes, prefix.Masked())
			}
		}
		facts.nics = append(facts.nics, n)
	}
	return facts
}

// refusal returns why a node's NICs can't announce the addresses, or nil. With names given any of those interfaces does;
// otherwise each address must lie in a subnet of some NIC.
func (f nodeFacts) refusal(addrs []netip.Addr, names []string) *rejection {
	if len(names) > 0 {
		return reach(f.nics, &noInterface, func(n nic) bool { return slices.Contains(names, n.name) })
	}
	var worst *rejection
	for _, addr := range addrs {
		// A missing subnet outranks a missing carrier: plugging in the cable would not help.
		if r := reach(f.nics, &noSubnet, func(n nic) bool { return n.holds(addr) }); r != nil && worst != &noSubnet {
			worst = r
		}
	}
	return worst
}

func (n nic) holds(addr netip.Addr) bool {
	return slices.ContainsFunc(n.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// reach looks for a suitable NIC with carrier. It returns missing when no NIC is suitable.
func reach(nics []nic, missing *rejection, suitable func(nic) bool) *rejection {
	found := missing
	for _, n := range nics {
		if !suitable(n) {
			continue
		}
		if n.carrier {
			return nil
		}
		found = &noCarrier
	}
	return found
}

// nodeStore holds the facts of all VIPNodes. It is safe for concurrent use: Filter reads it from many goroutines.
type nodeStore struct {
	mu    sync.RWMutex
	facts map[string]nodeFacts
}

func newNodeStore() *nodeStore { return &nodeStore{facts: map[string]nodeFacts{}} }

func (s *nodeStore) get(name string) (nodeFacts, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	facts, ok := s.facts[name]
	return facts, ok
}

// set reports whether anything changed that Filter looks at.
func (s *nodeStore) set(name string, facts nodeFacts) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.facts[name]
	s.facts[name] = facts
	knownNodes.Set(float64(len(s.facts)))
	return !ok || !old.equal(facts)
}

func (s *nodeStore) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.facts, name)
	knownNodes.Set(float64(len(s.facts)))
}

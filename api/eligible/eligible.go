// Package eligible is the one answer to whether a node can announce a VIP, as far as its VIPNode tells: the scheduler's filter
// and the controller, which keeps standbys and moves VIPs away, read it from here.
package eligible

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// NIC is a network interface as far as it matters here.
type NIC struct {
	Name     string
	Carrier  bool
	Prefixes []netip.Prefix
}

// Facts are what a VIPNode says, parsed once per change instead of once per pod and node.
type Facts struct {
	NICs    []NIC
	Sick    bool // the data plane is reported unhealthy
	Suspect bool // the controller keeps VIPs off it
	// SpeedMbps is the summed speed of the NICs with carrier, as far as their drivers tell.
	SpeedMbps int64
}

// Refusal is why a node's NICs can't announce a VIP; None when they can.
type Refusal string

// Refusals.
const (
	None        Refusal = ""
	NoSubnet    Refusal = "NoSubnet"
	NoInterface Refusal = "NoInterface"
	NoCarrier   Refusal = "NoCarrier"
)

// maxSpeedMbps keeps sums of what drivers say far from overflow: 1 Pbit/s.
const maxSpeedMbps = 1e9

// FactsOf reads a VIPNode. Addresses that can't be read are left out: they serve no VIP.
func FactsOf(node *v1alpha1.VIPNode) Facts {
	facts := Facts{
		// Absent or Unknown is no reason to refuse a node: its announcer may be told not to ask the data plane at all.
		Sick:    meta.IsStatusConditionPresentAndEqual(node.Status.Conditions, v1alpha1.NodeDataPlaneHealthy, metav1.ConditionFalse),
		Suspect: node.Spec.Suspect != nil,
	}
	for _, i := range node.Status.Interfaces {
		n := NIC{Name: i.Name, Carrier: i.Carrier}
		if i.Carrier && i.SpeedMbps > 0 {
			facts.SpeedMbps += min(i.SpeedMbps, maxSpeedMbps)
		}
		for _, address := range i.Addresses {
			if prefix, err := netip.ParsePrefix(address); err == nil {
				n.Prefixes = append(n.Prefixes, prefix.Masked())
			}
		}
		facts.NICs = append(facts.NICs, n)
	}
	return facts
}

// Equal says whether both mean the same for every VIP.
func (f Facts) Equal(other Facts) bool {
	return f.Sick == other.Sick && f.Suspect == other.Suspect && f.SpeedMbps == other.SpeedMbps && slices.EqualFunc(f.NICs, other.NICs, func(a, b NIC) bool {
		return a.Name == b.Name && a.Carrier == b.Carrier && slices.Equal(a.Prefixes, b.Prefixes)
	})
}

// Refuses returns why the NICs can't announce the addresses. With names given any of those interfaces does; otherwise each
// address must lie in a subnet of some NIC.
func (f Facts) Refuses(addrs []netip.Addr, names []string) Refusal {
	if len(names) > 0 {
		return f.reach(NoInterface, func(n NIC) bool { return slices.Contains(names, n.Name) })
	}
	worst := None
	for _, addr := range addrs {
		// A missing subnet outranks a missing carrier: plugging in the cable would not help.
		if r := f.reach(NoSubnet, func(n NIC) bool { return n.holds(addr) }); r != None && worst != NoSubnet {
			worst = r
		}
	}
	return worst
}

func (n NIC) holds(addr netip.Addr) bool {
	return slices.ContainsFunc(n.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// reach looks for a suitable NIC with carrier. It returns missing when no NIC is suitable.
func (f Facts) reach(missing Refusal, suitable func(NIC) bool) Refusal {
	found := missing
	for _, n := range f.NICs {
		if !suitable(n) {
			continue
		}
		if n.Carrier {
			return None
		}
		found = NoCarrier
	}
	return found
}

// Choose returns the index of the NIC that an announcer picks for an address: of the named ones the first with carrier, otherwise the
// one with the longest prefix that holds the address, then the first by name. Where none of them has carrier it is the one that would
// be picked with it; ok is false where none is suitable at all.
func (f Facts) Choose(addr netip.Addr, names []string) (index int, ok bool) {
	// Less is better; of equals the first by name.
	rank := func(n NIC) (int, bool) {
		if len(names) > 0 {
			at := slices.Index(names, n.Name)
			return at, at >= 0
		}
		bits := -1
		for _, p := range n.Prefixes {
			if p.Contains(addr) {
				bits = max(bits, p.Bits())
			}
		}
		return -bits, bits >= 0
	}
	best := -1
	better := func(n NIC, at int) bool {
		if best < 0 {
			return true
		}
		than := f.NICs[best]
		if n.Carrier != than.Carrier {
			return n.Carrier
		}
		before, _ := rank(than)
		return at < before || at == before && n.Name < than.Name
	}
	for i, n := range f.NICs {
		if at, suitable := rank(n); suitable && better(n, at) {
			best = i
		}
	}
	return best, best >= 0
}

package suspects

import (
	"cmp"
	"net/netip"
	"slices"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// watchedBy is how many nodes each node watches: with two, a node and the one next to it may die at once.
const watchedBy = 2

// Neighbours picks whom a node watches: those that follow it in a ring of all nodes by name, as far as they are on a segment
// of its own. Suspect nodes are watched by nobody, and the ring closes over them: their own announcers say when they are back.
func Neighbours(name string, all []v1alpha1.VIPNode) []v1alpha1.Neighbour {
	ring := slices.Clone(all)
	slices.SortFunc(ring, func(a, b v1alpha1.VIPNode) int { return cmp.Compare(a.Name, b.Name) })
	self := slices.IndexFunc(ring, func(n v1alpha1.VIPNode) bool { return n.Name == name })
	if self < 0 {
		return nil
	}
	var neighbours []v1alpha1.Neighbour
	for i := 1; i < len(ring) && len(neighbours) < watchedBy; i++ {
		other := &ring[(self+i)%len(ring)]
		if other.Spec.Suspect != nil {
			continue
		}
		if mac, address, ok := reach(&ring[self], other); ok {
			neighbours = append(neighbours, v1alpha1.Neighbour{Node: other.Name, MAC: mac, Address: address})
		}
	}
	return neighbours
}

// holds says whether an address of another machine lies in a subnet of a NIC.
func holds(nic v1alpha1.NodeInterface, addr netip.Addr) bool {
	return slices.ContainsFunc(nic.Addresses, func(own string) bool {
		p, err := netip.ParsePrefix(own)
		return err == nil && p.Contains(addr) && p.Addr() != addr
	})
}

// reach finds a NIC of another node that lies in a subnet of one of ours: one where both have carrier, if there is any. Behind a NIC
// that has lost it, silence would say nothing of the others.
func reach(from, to *v1alpha1.VIPNode) (mac, address string, ok bool) {
	for _, theirs := range to.Status.Interfaces {
		for _, text := range theirs.Addresses {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				continue
			}
			for _, ours := range from.Status.Interfaces {
				if !holds(ours, prefix.Addr()) {
					continue
				}
				if theirs.Carrier && ours.Carrier {
					return theirs.MAC, prefix.Addr().String(), true
				}
				if !ok {
					mac, address, ok = theirs.MAC, prefix.Addr().String(), true
				}
			}
		}
	}
	return mac, address, ok
}

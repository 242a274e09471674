package place

import (
	"net/netip"
	"slices"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ledger"
)

// PeerOf describes a node that has or had a VIP: the MACs and own addresses of the NICs that may have announced it, first the one that
// announces it as far as its VIPNode tells. Standbys ask that one.
func PeerOf(pod, node string, vip *v1alpha1.VIP, interfaces []string, seen *v1alpha1.VIPNode) placeholder.Peer {
	peer := placeholder.Peer{Pod: pod, Node: node}
	if seen == nil {
		return peer
	}
	addrs := ledger.Addresses(vip)
	facts := eligible.FactsOf(seen)
	var serving []string // each address's
	var order []int
	for _, addr := range addrs {
		if at, ok := facts.Choose(addr, interfaces); ok {
			order = append(order, at)
			serving = append(serving, seen.Status.Interfaces[at].MAC)
		}
	}
	for i := range seen.Status.Interfaces {
		order = append(order, i)
	}
	for _, i := range order {
		nic := seen.Status.Interfaces[i]
		own, matches := nicAddresses(nic, addrs)
		if len(interfaces) > 0 {
			matches = slices.Contains(interfaces, nic.Name)
		}
		if matches && !slices.Contains(peer.MACs, nic.MAC) {
			peer.MACs = append(peer.MACs, nic.MAC)
			peer.Addresses = append(peer.Addresses, own...)
		}
	}
	if len(serving) == len(addrs) && slices.ContainsFunc(serving, func(mac string) bool { return mac != serving[0] }) {
		peer.Serving = serving
	}
	return peer
}

// nicAddresses returns the NIC's own addresses, and whether one of the VIP's lies in its subnets.
func nicAddresses(nic v1alpha1.NodeInterface, vip []netip.Addr) (own []netip.Addr, matches bool) {
	for _, text := range nic.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		own = append(own, prefix.Addr())
		matches = matches || slices.ContainsFunc(vip, prefix.Contains)
	}
	return own, matches
}

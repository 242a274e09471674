package ledger

import (
	"net/netip"

	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
)

// ObservePool takes in a pool.
func (l *Ledger) ObservePool(pool *v1alpha1.VIPPool) {
	l.change(func() *Change {
		l.pools[pool.Name] = ipam.Pool{
			Name: pool.Name, Created: pool.CreationTimestamp.Time, Addresses: pool.Spec.Addresses,
			AutoAssign: pool.Spec.AutoAssign == nil || *pool.Spec.AutoAssign,
			Priority:   pool.Spec.Priority, AvoidBuggyIPs: pool.Spec.AvoidBuggyIPs,
		}
		l.table = nil
		return &Change{Freed: true}
	})
}

// ForgetPool takes in a pool's deletion. Allocations from it stand. A younger pool may win addresses by it.
func (l *Ledger) ForgetPool(name string) {
	l.change(func() *Change {
		delete(l.pools, name)
		l.table = nil
		return &Change{Freed: true}
	})
}

// ObservePod takes in a pod: a placeholder takes its addresses for as long as its object exists. A Service that it was made
// for may have them again (its VIP object was deleted by hand: the same place, a new claim).
func (l *Ledger) ObservePod(pod *corev1.Pod) {
	if !placeholder.Is(pod) {
		return
	}
	addrs, err := placeholder.ParseAddresses(pod.Annotations[placeholder.AnnotationAddresses])
	if err != nil {
		return // its announcer reports what is wrong with it
	}
	var tokens []string
	if services, err := placeholder.ParseServices(pod.Annotations[placeholder.AnnotationService]); err == nil && !placeholder.HandWritten(pod) {
		for _, service := range services {
			tokens = append(tokens, podToken(service.String()))
		}
	}
	l.change(func() *Change {
		return l.claim(ipam.Claim{Holder: ipam.Holder{Kind: ipam.KindPod, Name: pod.Name}, Addresses: addrs, Tokens: tokens})
	})
}

// ForgetPod takes in a pod's end.
func (l *Ledger) ForgetPod(name string) { l.release(ipam.KindPod, name) }

// ObserveNode takes in a node's own addresses, which are never handed out.
func (l *Ledger) ObserveNode(node *corev1.Node) {
	var addrs []netip.Addr
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			addrs = append(addrs, addr.Unmap())
		}
	}
	l.withhold(ipam.KindNode, node.Name, addrs)
}

// ForgetNode takes in a node's deletion.
func (l *Ledger) ForgetNode(name string) { l.release(ipam.KindNode, name) }

// ObserveVIPNode takes in what a node's announcer sees: its NICs' addresses, and the addresses that mean the subnet itself.
func (l *Ledger) ObserveVIPNode(node *v1alpha1.VIPNode) {
	var own, reserved []netip.Addr
	for _, nic := range node.Status.Interfaces {
		for _, text := range nic.Addresses {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				continue
			}
			own = append(own, prefix.Addr())
			reserved = append(reserved, subnetAddresses(prefix)...)
		}
	}
	l.withhold(ipam.KindNode, nicClaim(node.Name), own)
	l.withhold(ipam.KindSubnet, node.Name, reserved)
}

// ForgetVIPNode takes in a VIPNode's deletion.
func (l *Ledger) ForgetVIPNode(name string) {
	l.release(ipam.KindNode, nicClaim(name))
	l.release(ipam.KindSubnet, name)
}

func nicClaim(node string) string { return node + " (a NIC's)" }

// subnetAddresses lists what can't be anybody's address in a node's subnet: IPv4 network and broadcast (not in /31 and /32,
// RFC 3021), and the IPv6 subnet-router anycast address, which every node that forwards answers for itself (RFC 4291
// section 2.6.1; not in /127, RFC 6164).
func subnetAddresses(prefix netip.Prefix) []netip.Addr {
	if prefix.Addr().BitLen()-prefix.Bits() < 2 {
		return nil
	}
	first := prefix.Masked().Addr()
	if first.Is4() {
		return []netip.Addr{first, netipx.PrefixLastIP(prefix)}
	}
	return []netip.Addr{first}
}

func (l *Ledger) withhold(kind ipam.Kind, name string, addrs []netip.Addr) {
	l.change(func() *Change {
		return l.claim(ipam.Claim{Holder: ipam.Holder{Kind: kind, Name: name}, Addresses: addrs})
	})
}

func (l *Ledger) release(kind ipam.Kind, name string) {
	l.change(func() *Change { return l.withdraw(ipam.Holder{Kind: kind, Name: name}) })
}

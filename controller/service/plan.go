package service

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
)

// plan is what becomes of a Service's VIPs. It is pure.
type plan struct {
	// serve are the addresses for the ingress: by family in the Service's order, then by age.
	serve []netip.Addr
	// need is the next VIP to allocate. Nil: the Service has all that it asks for.
	need *need
	// leave are VIPs that the Service no longer uses, those of collisions among them.
	leave []*v1alpha1.VIP
	// collisions are VIPs that are another Service's now.
	collisions []collision
}

// collision is a VIP that the Service can no longer share.
type collision struct {
	vip *v1alpha1.VIP
	why string
}

func collided(list []collision) []*v1alpha1.VIP {
	vips := make([]*v1alpha1.VIP, len(list))
	for i, c := range list {
		vips[i] = c.vip
	}
	return vips
}

// need is one VIP that a Service lacks.
type need struct {
	families  []ipam.Family
	addresses []netip.Addr
	// near is the pool of an address that the Service has.
	near string
	// hoped: the Service is content without it, and takes it when it can be had.
	hoped bool
}

// planFor sorts out a Service's VIPs. An address that is what the Service asks for stays, the older ones first; of more than enough
// the youngest go. What isn't what it asks for any more serves until its successor is there, except where it collides: the address
// is another Service's then, and collides says of which and why.
func planFor(w wish, vips []*v1alpha1.VIP, collides func(*v1alpha1.VIP) string) plan {
	var p plan
	var usable []*v1alpha1.VIP
	for _, vip := range vips {
		if why := collides(vip); why != "" {
			p.leave, p.collisions = append(p.leave, vip), append(p.collisions, collision{vip, why})
		} else {
			usable = append(usable, vip)
		}
	}
	have := map[ipam.Family][]netip.Addr{}
	for _, family := range w.wanted() {
		have[family] = w.choose(family, usable)
	}
	p.need = w.lacks(have)
	standIns := map[ipam.Family][]netip.Addr{}
	for _, vip := range usable {
		switch {
		case slices.ContainsFunc(ledger.Addresses(vip), func(a netip.Addr) bool { return slices.Contains(have[ipam.FamilyOf(a)], a) }):
			if p.need != nil && p.need.near == "" {
				p.need.near = vip.Spec.Pool
			}
		case w.standsIn(vip, have, p.need):
			for _, addr := range ledger.Addresses(vip) {
				standIns[ipam.FamilyOf(addr)] = append(standIns[ipam.FamilyOf(addr)], addr)
			}
		default:
			p.leave = append(p.leave, vip)
		}
	}
	for _, family := range w.families {
		missing := max(0, min(len(standIns[family]), w.count-len(have[family])))
		p.serve = slices.Concat(p.serve, have[family], standIns[family][:missing])
	}
	return p
}

// choose returns the addresses of a family that the Service has of those that it asks for, at most as many as it asks for. Which
// these are is decided by each family for itself, so that what comes with an address of the other family takes no place.
func (w wish) choose(family ipam.Family, vips []*v1alpha1.VIP) []netip.Addr {
	asked := w.asked(family)
	born := map[netip.Addr]time.Time{}
	var addrs []netip.Addr
	for _, vip := range vips {
		for _, addr := range ledger.Addresses(vip) {
			if ipam.FamilyOf(addr) == family && (w.pool == "" || w.pool == vip.Spec.Pool) {
				addrs, born[addr] = append(addrs, addr), vip.CreationTimestamp.Time
			}
		}
	}
	// The one that is asked for; then those that the Service has had longest, as its status shows them (a VIP that it shares may be
	// older than its use of it); then by age. Of those of the same second the lower address is the older: so they were given.
	rank := func(addr netip.Addr) int {
		if addr == asked {
			return -1
		}
		if i := slices.Index(w.shown, addr); i >= 0 {
			return i
		}
		return len(w.shown)
	}
	slices.SortFunc(addrs, func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), born[a].Compare(born[b]), a.Compare(b))
	})
	most := w.count
	if asked.IsValid() && !slices.Contains(addrs, asked) {
		most-- // one place is kept for it
	}
	return addrs[:min(len(addrs), most)]
}

// wanted lists the families that the Service is to have addresses of: all of its own, or those that it asks for by address.
func (w wish) wanted() []ipam.Family {
	if len(w.addresses) == 0 {
		return w.families
	}
	return slices.DeleteFunc(slices.Clone(w.families), func(f ipam.Family) bool { return !w.asked(f).IsValid() })
}

// asked is the address of a family that the Service asks for; invalid: any.
func (w wish) asked(family ipam.Family) netip.Addr {
	for _, addr := range w.addresses {
		if ipam.FamilyOf(addr) == family {
			return addr
		}
	}
	return netip.Addr{}
}

// lacks says what is to be allocated next, or nil.
func (w wish) lacks(have map[ipam.Family][]netip.Addr) *need {
	n := &need{}
	most := 0
	for _, family := range w.wanted() {
		most = max(most, len(have[family]))
		if len(have[family]) == w.count {
			continue
		}
		if asked := w.asked(family); asked.IsValid() && !slices.Contains(have[family], asked) {
			n.addresses = append(n.addresses, asked)
		}
		n.families = append(n.families, family)
	}
	if len(n.families) == 0 {
		return nil
	}
	if len(n.addresses) > 0 { // these come first
		n.families = slices.DeleteFunc(n.families, func(f ipam.Family) bool {
			return !slices.ContainsFunc(n.addresses, func(a netip.Addr) bool { return ipam.FamilyOf(a) == f })
		})
	}
	n.hoped = !w.all && len(w.addresses) == 0 && most == w.count
	return n
}

// standsIn says whether a VIP that isn't what the Service asks for is kept until that is there.
func (w wish) standsIn(vip *v1alpha1.VIP, have map[ipam.Family][]netip.Addr, n *need) bool {
	if n == nil || n.hoped {
		return false
	}
	served := w.serves(ledger.Addresses(vip))
	return len(served) == 0 || slices.ContainsFunc(served, func(a netip.Addr) bool { return len(have[ipam.FamilyOf(a)]) < w.count })
}

package service

import (
	"cmp"
	"net/netip"
	"slices"

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
	var kept, rest []*v1alpha1.VIP
	have := map[ipam.Family][]netip.Addr{}
	for _, vip := range w.byAge(vips) {
		why := collides(vip)
		switch {
		case why != "":
			p.leave, p.collisions = append(p.leave, vip), append(p.collisions, collision{vip, why})
		case w.take(vip, have):
			kept = append(kept, vip)
		default:
			rest = append(rest, vip)
		}
	}
	p.need = w.lacks(have)
	if p.need != nil && len(kept) > 0 {
		p.need.near = kept[0].Spec.Pool
	}
	for _, vip := range rest {
		if !w.standsIn(vip, have, p.need) {
			p.leave = append(p.leave, vip)
			continue
		}
		kept = append(kept, vip)
	}
	p.show(w, kept, have)
	return p
}

// byAge puts the VIPs with an address that is asked for first, then the oldest. Of those of the same second the lower address is the
// older: so they were given.
func (w wish) byAge(vips []*v1alpha1.VIP) []*v1alpha1.VIP {
	asked := func(vip *v1alpha1.VIP) int {
		if slices.ContainsFunc(ledger.Addresses(vip), func(a netip.Addr) bool { return slices.Contains(w.addresses, a) }) {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(slices.Values(vips), func(a, b *v1alpha1.VIP) int {
		return cmp.Or(cmp.Compare(asked(a), asked(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			slices.CompareFunc(ledger.Addresses(a), ledger.Addresses(b), netip.Addr.Compare))
	})
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

// take counts a VIP among those that the Service has, if one of its addresses is what it asks for and not one too many.
func (w wish) take(vip *v1alpha1.VIP, have map[ipam.Family][]netip.Addr) bool {
	if w.pool != "" && w.pool != vip.Spec.Pool {
		return false
	}
	taken := false
	for _, family := range w.wanted() {
		for _, addr := range ledger.Addresses(vip) {
			if ipam.FamilyOf(addr) != family {
				continue
			}
			room := w.count - len(have[family])
			if asked := w.asked(family); asked.IsValid() && addr != asked && !slices.Contains(have[family], asked) {
				room-- // one place is kept for it
			}
			if room > 0 {
				have[family] = append(have[family], addr)
				taken = true
			}
		}
	}
	return taken
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
	if n == nil {
		return false
	}
	served := w.serves(ledger.Addresses(vip))
	if len(served) == 0 {
		return !n.hoped
	}
	return !n.hoped && slices.ContainsFunc(served, func(a netip.Addr) bool { return len(have[ipam.FamilyOf(a)]) < w.count })
}

// show chooses the addresses for the ingress: those that count, and of what stands in as many as are missing.
func (p *plan) show(w wish, kept []*v1alpha1.VIP, have map[ipam.Family][]netip.Addr) {
	for _, family := range w.families {
		shown := 0
		for _, vip := range kept {
			for _, addr := range ledger.Addresses(vip) {
				counts := slices.Contains(have[family], addr)
				if ipam.FamilyOf(addr) != family || !counts && shown >= w.count {
					continue
				}
				shown++
				p.serve = append(p.serve, addr)
			}
		}
	}
}

package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
)

// MaxSharers is how many Services one VIP records (VIPSpec.Services).
const MaxSharers = 64

// ErrForming says that a VIP which the Service may share is being created this moment: ask again in a moment.
var ErrForming = errors.New("a VIP of the same sharing key is being created")

// sharing is who may share what with whom. The ledger's lock guards it.
type sharing struct {
	declared map[types.UID]ipam.Sharing
	departed map[types.UID]bool // no longer ours, but a VIP still names it
	forming  map[string]forming // by the name of the VIP: granted, not yet created
	joining  map[string][]Taker // by the name of the VIP: granted, not yet written
}

// forming is a VIP that is being created.
type forming struct {
	Taker
	ipam.Allocation
}

func newSharing() sharing {
	return sharing{declared: map[types.UID]ipam.Sharing{}, departed: map[types.UID]bool{}, forming: map[string]forming{}, joining: map[string][]Taker{}}
}

// seen takes in what a VIP records: it is no longer forming, and who is in it is no longer joining.
func (s *sharing) seen(vip *v1alpha1.VIP) {
	delete(s.forming, vip.Name)
	for _, ref := range vip.Spec.Services {
		s.left(vip.Name, ref.UID)
	}
}

// left ends a join, done or given up, and says whether there was one.
func (s *sharing) left(vip string, uid types.UID) bool {
	joining := s.joining[vip]
	rest := slices.DeleteFunc(slices.Clone(joining), func(t Taker) bool { return t.UID == uid })
	if len(rest) == 0 {
		delete(s.joining, vip)
	} else {
		s.joining[vip] = rest
	}
	return len(rest) < len(joining)
}

// unused drops a Service that is gone and that no VIP names any more.
func (s *sharing) unused(uid types.UID) {
	if s.departed[uid] {
		delete(s.departed, uid)
		delete(s.declared, uid)
	}
}

// Declare says how a Service shares from now on. Where that changes, the Services that share with it are told, and those that wait:
// what they have or may have can be another thing now.
func (l *Ledger) Declare(by Taker) {
	l.change(func() *Change {
		before, had := l.sharing.declared[by.UID]
		delete(l.sharing.departed, by.UID)
		if had && before.Equal(by.Sharing) {
			return nil
		}
		l.sharing.declared[by.UID] = by.Sharing
		if !had {
			return nil
		}
		change := &Change{Freed: true}
		for _, name := range l.byService[by.UID] {
			change.Services = append(change.Services, references(l.vips[name])...)
		}
		return change
	})
}

// Undeclare says that a Service is gone, or no longer ours.
func (l *Ledger) Undeclare(uid types.UID) {
	l.change(func() *Change {
		if _, had := l.sharing.declared[uid]; !had {
			return nil
		}
		l.sharing.departed[uid] = true
		if len(l.byService[uid]) == 0 {
			l.sharing.unused(uid)
		}
		return nil
	})
}

// Collision says why a Service may no longer share a VIP that it uses with one that was there before it, as the end of a sentence;
// "" where it may. Of two that collide the one that joined later leaves.
func (l *Ledger) Collision(vip *v1alpha1.VIP, by Taker) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ref := range vip.Spec.Services {
		if ref.UID == by.UID {
			return ""
		}
		with, known := l.sharing.declared[ref.UID]
		if !known || l.sharing.departed[ref.UID] {
			continue
		}
		if why := by.Sharing.Against(with, ref.Namespace+"/"+ref.Name); why != "" {
			return why
		}
	}
	return ""
}

// against says why a Service can't join a VIP, as the end of a sentence; "" where it can.
func (l *Ledger) against(vip *v1alpha1.VIP, by Taker) string {
	joining := l.sharing.joining[vip.Name]
	if len(vip.Spec.Services)+len(joining) >= MaxSharers {
		return fmt.Sprintf("%d Services share it already, which is the most", MaxSharers)
	}
	for _, ref := range vip.Spec.Services {
		if ref.UID == by.UID {
			continue
		}
		name := ref.Namespace + "/" + ref.Name
		with, known := l.sharing.declared[ref.UID]
		if !known {
			return "Service " + name + " uses it, and what it shares isn't known yet"
		}
		if why := by.Sharing.Against(with, name); why != "" {
			return why
		}
	}
	for _, other := range joining {
		if why := by.Sharing.Against(other.Sharing, other.String()); other.UID != by.UID && why != "" {
			return why
		}
	}
	return ""
}

// grant decides what a Service is given. It changes nothing. The lock is held.
func (l *Ledger) grant(r ipam.Request, by Taker) (Grant, error) {
	if by.Sharing.Key == "" {
		return l.own(r)
	}
	r.Tokens = append(r.Tokens, keyToken(by.Sharing.Key))
	if len(r.Addresses) > 0 {
		return l.asked(r, by)
	}
	if len(r.Prefer) > 0 {
		if vip, err := l.shared(r, by, r.Prefer); vip != nil || err != nil {
			return joined(vip), err
		}
		if a, ok := ipam.Preferred(l.compiled(), &l.claims, r); ok {
			return created(a), nil
		}
	}
	// Sharing comes before an address of one's own, and both families before one.
	for _, step := range steps(r) {
		if vip, err := l.shared(step, by, nil); vip != nil || err != nil {
			return joined(vip), err
		}
		if a, err := ipam.Allocate(l.compiled(), &l.claims, step); err == nil {
			return created(a), nil
		}
	}
	return l.own(r)
}

// own gives a VIP that nobody else uses.
func (l *Ledger) own(r ipam.Request) (Grant, error) {
	a, err := ipam.Allocate(l.compiled(), &l.claims, r)
	if err != nil {
		return Grant{}, err
	}
	return created(a), nil
}

func created(a ipam.Allocation) Grant {
	return Grant{VIP: placeholder.VIPName(a.Addresses[0]), Allocation: a}
}

func joined(vip *v1alpha1.VIP) Grant {
	if vip == nil {
		return Grant{}
	}
	return Grant{VIP: vip.Name, Joins: true, Allocation: ipam.Allocation{Pool: vip.Spec.Pool, Addresses: Addresses(vip)}}
}

// steps are what a request is content with, best first.
func steps(r ipam.Request) []ipam.Request {
	r.Prefer = nil
	if r.All || len(r.Families) < 2 {
		return []ipam.Request{r}
	}
	all := r
	all.All = true
	list := []ipam.Request{all}
	for _, family := range r.Families {
		one := r
		one.Families = []ipam.Family{family}
		list = append(list, one)
	}
	return list
}

// asked gives addresses that a Service with a sharing key asks for: a place in the VIP that has the first of them that is taken, or
// a VIP of those that are free.
func (l *Ledger) asked(r ipam.Request, by Taker) (Grant, error) {
	for _, addr := range r.Addresses {
		name, taken := l.takenBy(addr)
		if !taken {
			continue
		}
		if _, err := l.compiled().Permits(r, addr); err != nil {
			return Grant{}, err
		}
		vip := l.vips[name]
		if vip == nil { // between Take and the VIP's creation
			if other, ok := l.sharing.forming[name]; ok && by.Sharing.Against(other.Sharing, other.String()) != "" {
				return Grant{}, ipam.RefuseShared("%s can't be shared: %s", addr, by.Sharing.Against(other.Sharing, other.String()))
			}
			return Grant{}, ErrForming
		}
		if !inUse(vip) {
			break // Allocate says when it is free
		}
		if why := l.against(vip, by); why != "" {
			return Grant{}, ipam.RefuseShared("%s can't be shared: %s", addr, why)
		}
		return joined(vip), nil
	}
	return l.own(r)
}

// takenBy names the VIP that has an address.
func (l *Ledger) takenBy(addr netip.Addr) (vip string, ok bool) {
	for _, claim := range l.claims.On(addr) {
		if claim.Kind == ipam.KindVIP {
			return claim.Name, true
		}
	}
	return "", false
}

func inUse(vip *v1alpha1.VIP) bool {
	return vip.DeletionTimestamp == nil && vip.Spec.ReleasedAt == nil && len(vip.Spec.Services) > 0
}

// shared finds the VIP with the lowest address that a Service may share by its key alone, or nil. It has addresses of all families of
// the request, or, where there are any, one of those that are wanted.
func (l *Ledger) shared(r ipam.Request, by Taker, wanted []netip.Addr) (*v1alpha1.VIP, error) {
	fits := func(addrs []netip.Addr, pool string) bool {
		if len(wanted) > 0 {
			return slices.ContainsFunc(addrs, func(a netip.Addr) bool {
				_, err := l.compiled().Permits(r, a)
				return err == nil && slices.Contains(wanted, a) && slices.Contains(r.Families, ipam.FamilyOf(a))
			})
		}
		serves := !slices.ContainsFunc(r.Families, func(f ipam.Family) bool {
			return !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return ipam.FamilyOf(a) == f })
		})
		return serves && l.compiled().MayDraw(r, pool)
	}
	for _, vip := range l.ofKey(by.Sharing.Key) {
		uses := slices.ContainsFunc(vip.Spec.Services, func(ref v1alpha1.ServiceReference) bool { return ref.UID == by.UID })
		if !uses && inUse(vip) && fits(Addresses(vip), vip.Spec.Pool) && l.against(vip, by) == "" {
			return vip, nil
		}
	}
	for _, other := range l.sharing.forming {
		if other.UID != by.UID && fits(other.Addresses, other.Pool) && by.Sharing.Against(other.Sharing, other.String()) == "" {
			return nil, ErrForming
		}
	}
	return nil, nil
}

// ofKey lists the VIPs that a Service with the key uses, by address.
func (l *Ledger) ofKey(key string) []*v1alpha1.VIP {
	seen := map[string]bool{}
	var vips []*v1alpha1.VIP
	for uid, s := range l.sharing.declared {
		if s.Key != key {
			continue
		}
		for _, name := range l.byService[uid] {
			if !seen[name] {
				seen[name] = true
				vips = append(vips, l.vips[name])
			}
		}
	}
	slices.SortFunc(vips, func(a, b *v1alpha1.VIP) int {
		return cmp.Or(slices.CompareFunc(Addresses(a), Addresses(b), netip.Addr.Compare), cmp.Compare(a.Name, b.Name))
	})
	return vips
}

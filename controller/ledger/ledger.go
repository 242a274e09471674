// Package ledger is the one owner of allocation: what the cluster says about addresses comes together here, and addresses are
// given out under its lock. It never trusts a lagging cache: what was created a moment ago counts before any watch shows it.
package ledger

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/written"
)

// Ledger knows every VIP and who takes which address. It is safe for concurrent use.
type Ledger struct {
	clock      clock.PassiveClock
	quarantine time.Duration
	ready      chan struct{}
	open       sync.Once

	mu        sync.Mutex
	pools     map[string]ipam.Pool
	table     *ipam.Table // nil after a change of the pools
	claims    ipam.Claims
	vips      map[string]*v1alpha1.VIP
	byService map[types.UID][]string // names of VIPs, sorted
	sharing   sharing
	listeners []func(Change)
}

// New returns a Ledger that keeps the addresses of a VIP that vanished from others for quarantine: the address lifetime
// plus how long an announcer holds on to an address without a placeholder.
func New(clock clock.PassiveClock, quarantine time.Duration) *Ledger {
	return &Ledger{
		clock: clock, quarantine: quarantine, ready: make(chan struct{}),
		pools: map[string]ipam.Pool{}, vips: map[string]*v1alpha1.VIP{}, byService: map[types.UID][]string{}, sharing: newSharing(),
	}
}

// Quarantine is how long an address stays taken after its VIP was released.
func (l *Ledger) Quarantine() time.Duration { return l.quarantine }

// Open says that everything was listed: allocation may begin.
func (l *Ledger) Open() { l.open.Do(func() { close(l.ready) }) }

// Ready is closed once allocation may begin.
func (l *Ledger) Ready() <-chan struct{} { return l.ready }

// Change is what listeners are told.
type Change struct {
	// Freed: something may be had now that could not be had before.
	Freed bool
	// VIP that appeared, changed or vanished, and the Services that it was and is for.
	VIP      string
	Services []types.NamespacedName
}

// OnChange calls f after every change of what is taken, without the lock held. It must not be called once the ledger is in use.
func (l *Ledger) OnChange(f func(Change)) { l.listeners = append(l.listeners, f) }

// change runs f under the lock and tells the listeners, unless it returns nil.
func (l *Ledger) change(f func() *Change) {
	l.mu.Lock()
	change := f()
	l.mu.Unlock()
	if change == nil {
		return
	}
	for _, listener := range l.listeners {
		listener(*change)
	}
}

// claim sets a claim and says what this changed.
func (l *Ledger) claim(claim ipam.Claim) *Change {
	if changed, freed := l.claims.Set(claim); changed {
		return &Change{Freed: freed}
	}
	return nil
}

// withdraw ends a claim and says what this changed.
func (l *Ledger) withdraw(holder ipam.Holder) *Change {
	if l.claims.Withdraw(holder) {
		return &Change{Freed: true}
	}
	return nil
}

// ObserveVIP takes in a VIP as a watch, a list or our own write showed it. An older one than is known is ignored.
func (l *Ledger) ObserveVIP(vip *v1alpha1.VIP) {
	l.change(func() *Change {
		known := l.vips[vip.Name]
		if known != nil && written.Newer(known.ResourceVersion, vip.ResourceVersion) {
			return nil
		}
		change := &Change{VIP: vip.Name, Services: append(references(known), references(vip)...)}
		l.unindex(known)
		l.vips[vip.Name] = vip
		for _, ref := range vip.Spec.Services {
			names := l.byService[ref.UID]
			if i, found := slices.BinarySearch(names, vip.Name); !found {
				l.byService[ref.UID] = slices.Insert(slices.Clone(names), i, vip.Name)
			}
		}
		_, change.Freed = l.claims.Set(ipam.Claim{Holder: vipHolder(vip.Name), Addresses: Addresses(vip), Note: l.note(vip)})
		if known != nil && len(vip.Spec.Services) < len(known.Spec.Services) {
			change.Freed = true // the ports of who left
		}
		l.sharing.seen(vip)
		return change
	})
}

// ForgetVIP takes in a VIP's deletion. Where it wasn't released and waited for, a node may still answer for its addresses:
// they are quarantined for all but the Services that had them.
func (l *Ledger) ForgetVIP(vip *v1alpha1.VIP) {
	l.change(func() *Change {
		known := l.vips[vip.Name]
		if known == nil || known.UID != vip.UID {
			return nil
		}
		l.unindex(known)
		delete(l.vips, vip.Name)
		now := l.clock.Now()
		until, tokens := now.Add(l.quarantine), []string(nil)
		if known.Spec.ReleasedAt != nil {
			until = known.Spec.ReleasedAt.Add(l.quarantine)
		} else {
			for _, ref := range known.Spec.Services {
				tokens = append(tokens, serviceToken(ref.UID))
			}
		}
		if now.Before(until) {
			l.claims.Set(ipam.Claim{Holder: ipam.Holder{Kind: ipam.KindQuarantine, Name: vip.Name}, Addresses: Addresses(known), Tokens: tokens, Until: until})
		}
		return &Change{Freed: l.claims.Withdraw(vipHolder(vip.Name)), VIP: vip.Name, Services: references(known)}
	})
}

func references(vip *v1alpha1.VIP) []types.NamespacedName {
	if vip == nil {
		return nil
	}
	var services []types.NamespacedName
	for _, ref := range vip.Spec.Services {
		services = append(services, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name})
	}
	return services
}

func (l *Ledger) unindex(vip *v1alpha1.VIP) {
	if vip == nil {
		return
	}
	for _, ref := range vip.Spec.Services {
		names := slices.DeleteFunc(slices.Clone(l.byService[ref.UID]), func(name string) bool { return name == vip.Name })
		if len(names) == 0 {
			delete(l.byService, ref.UID)
			l.sharing.unused(ref.UID)
		} else {
			l.byService[ref.UID] = names
		}
	}
}

// VIP returns the newest known state of a VIP, or nil. It must not be changed.
func (l *Ledger) VIP(name string) *v1alpha1.VIP {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vips[name]
}

// VIPs returns all known VIPs. They must not be changed.
func (l *Ledger) VIPs() []*v1alpha1.VIP {
	l.mu.Lock()
	defer l.mu.Unlock()
	vips := make([]*v1alpha1.VIP, 0, len(l.vips))
	for _, vip := range l.vips {
		vips = append(vips, vip)
	}
	return vips
}

// VIPsOf returns the VIPs that a Service uses, by name. They must not be changed.
func (l *Ledger) VIPsOf(uid types.UID) []*v1alpha1.VIP {
	l.mu.Lock()
	defer l.mu.Unlock()
	var vips []*v1alpha1.VIP
	for _, name := range l.byService[uid] {
		vips = append(vips, l.vips[name])
	}
	return vips
}

// Taker is a Service that wants addresses.
type Taker struct {
	types.NamespacedName
	UID types.UID
	// Sharing says with whom the Service may share an address.
	Sharing ipam.Sharing
}

// Grant is what a Service is given: a VIP of its own, or a place in one that others use.
type Grant struct {
	// VIP that is to be created, or joined.
	VIP string
	// Joins: the VIP is there, and others use it.
	Joins bool
	// Allocation has all of the VIP's addresses. Of one that is joined, some may be of no use to the Service.
	ipam.Allocation
}

// Take gives addresses for one VIP, and claims them. The caller creates or joins the VIP and then either observes what it wrote or
// abandons the grant. Of several families that a request would like, it may be given one. retry is when a claim that is in nobody's
// hands ends (zero: none does). Errors are of type *ipam.Refusal, or ErrForming.
func (l *Ledger) Take(r ipam.Request, by Taker) (grant Grant, retry time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, retry = l.claims.Expire(l.clock.Now())
	r.Tokens = []string{serviceToken(by.UID), podToken(by.String())}
	grant, err = l.grant(r, by)
	if err != nil {
		return Grant{}, retry, err
	}
	if grant.Joins {
		l.sharing.joining[grant.VIP] = append(l.sharing.joining[grant.VIP], by)
		return grant, retry, nil
	}
	l.claims.Set(ipam.Claim{Holder: vipHolder(grant.VIP), Addresses: grant.Addresses, Note: "is taken by Service " + by.String()})
	l.sharing.forming[grant.VIP] = forming{Taker: by, Allocation: grant.Allocation}
	return grant, retry, nil
}

// Abandon gives back what Take gave and could not be written.
func (l *Ledger) Abandon(grant Grant, by Taker) {
	l.change(func() *Change {
		if grant.Joins {
			if l.sharing.left(grant.VIP, by.UID) {
				return &Change{Freed: true}
			}
			return nil
		}
		delete(l.sharing.forming, grant.VIP)
		if l.vips[grant.VIP] != nil {
			return nil
		}
		return l.withdraw(vipHolder(grant.VIP))
	})
}

// Reserve keeps addresses for the Service whose status shows them, and for those that may share them with it.
func (l *Ledger) Reserve(by Taker, addrs []netip.Addr) {
	l.change(func() *Change {
		tokens := []string{serviceToken(by.UID)}
		if by.Sharing.Key != "" {
			tokens = append(tokens, keyToken(by.Sharing.Key))
		}
		return l.claim(ipam.Claim{Holder: reservation(by.UID), Addresses: addrs, Tokens: tokens, Note: "is kept for Service " + by.String() + ", which had it before"})
	})
}

// Unreserve ends a reservation.
func (l *Ledger) Unreserve(uid types.UID) {
	l.change(func() *Change { return l.withdraw(reservation(uid)) })
}

// PodsOn names the placeholder pods, written by us or by hand, that name one of the addresses.
func (l *Ledger) PodsOn(addrs []netip.Addr) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pods []string
	for _, addr := range addrs {
		for _, claim := range l.claims.On(addr) {
			if claim.Kind == ipam.KindPod && !slices.Contains(pods, claim.Name) {
				pods = append(pods, claim.Name)
			}
		}
	}
	return pods
}

// PoolState is what a pool's status shows. Retry is when its usage changes by itself (zero: it doesn't).
type PoolState struct {
	Usage    map[ipam.Family]ipam.Usage
	Problems []ipam.Problem
	Retry    time.Time
}

// Pool returns the state of a pool.
func (l *Ledger) Pool(name string) PoolState {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, retry := l.claims.Expire(l.clock.Now())
	table := l.compiled()
	return PoolState{Usage: table.Usage(name, &l.claims), Problems: table.Problems(name), Retry: retry}
}

func (l *Ledger) compiled() *ipam.Table {
	if l.table == nil {
		pools := make([]ipam.Pool, 0, len(l.pools))
		for _, pool := range l.pools {
			pools = append(pools, pool)
		}
		l.table = ipam.Compile(pools)
	}
	return l.table
}

// note ends the sentence "192.0.2.10 ..." that refuses an address of this VIP.
func (l *Ledger) note(vip *v1alpha1.VIP) string {
	if len(vip.Spec.Services) > 0 {
		note := fmt.Sprintf("is taken by Service %s/%s", vip.Spec.Services[0].Namespace, vip.Spec.Services[0].Name)
		if others := len(vip.Spec.Services) - 1; others > 0 {
			note += fmt.Sprintf(" and %d that share it", others)
		}
		return note
	}
	if vip.Spec.ReleasedAt != nil {
		return "is being released and is free again by itself after " + vip.Spec.ReleasedAt.Add(l.quarantine).UTC().Format("15:04:05 MST")
	}
	return "is taken by VIP " + vip.Name
}

// Addresses reads a VIP's addresses. Only the controller writes them; what can't be read is left out.
func Addresses(vip *v1alpha1.VIP) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(vip.Spec.Addresses))
	for _, text := range vip.Spec.Addresses {
		if addr, err := netip.ParseAddr(text); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// IngressAddresses reads the addresses in a Service's status.
func IngressAddresses(service *corev1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

func vipHolder(name string) ipam.Holder { return ipam.Holder{Kind: ipam.KindVIP, Name: name} }

func reservation(uid types.UID) ipam.Holder {
	return ipam.Holder{Kind: ipam.KindReserved, Name: string(uid)}
}

func serviceToken(uid types.UID) string { return "service/" + string(uid) }

func podToken(service string) string { return "pods/" + service }

func keyToken(key string) string { return "key/" + key }

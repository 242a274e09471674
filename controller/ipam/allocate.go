package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Family is 4 or 6.
type Family int

// Families of addresses.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns an address's family.
func FamilyOf(addr netip.Addr) Family {
	if addr.Is4() {
		return IPv4
	}
	return IPv6
}

func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// Request is what a Service wants.
type Request struct {
	// Families wanted, in the order in which the addresses are to be.
	Families []Family
	// All families are needed; else the first that can be had will do.
	All bool
	// Pool asked for. Empty: any with AutoAssign.
	Pool string
	// Addresses asked for, at most one of each family. Empty: any.
	Addresses []netip.Addr
	// Prefer these, if they are still in a pool and free; nothing is lost if they are not.
	Prefer []netip.Addr
	// Near is the pool to try first, whether it assigns automatically or not: the Service has an address of it. It may be gone.
	Near string
	// Allowed says whether a pool's selectors match. Nil: all do.
	Allowed func(pool string) bool
	// Tokens open claims that carry one of them.
	Tokens []string
}

// Allocation is what a request is given: at most one address of each family, all of one pool.
type Allocation struct {
	Pool      string
	Addresses []netip.Addr
}

// RefusalReason is one word, for an event.
type RefusalReason string

// Reasons of refusals.
const (
	NoPool         RefusalReason = "NoPool"
	UnknownPool    RefusalReason = "UnknownPool"
	PoolNotAllowed RefusalReason = "PoolNotAllowed"
	PoolExhausted  RefusalReason = "PoolExhausted"
	NotInPool      RefusalReason = "AddressNotInPool"
	AddressTaken   RefusalReason = "AddressTaken"
	AddressAvoided RefusalReason = "AddressAvoided"
	NotShareable   RefusalReason = "NotShareable"
)

// Refusal is the error of a request that can't be met now. Its message says why and what to do.
type Refusal struct {
	Reason  RefusalReason
	Message string
}

func (r *Refusal) Error() string { return r.Message }

func refuse(reason RefusalReason, format string, args ...any) error {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}

// Allocate chooses addresses: the ones asked for, else those preferred, else the first that are free in the order of pools
// (the one asked for; or priority, then name) and of their entries. It changes nothing: the caller claims what it is given.
// It takes time proportional to the addresses that are taken, not to the pools' sizes. Errors are of type *Refusal.
func Allocate(t *Table, claims *Claims, r Request) (Allocation, error) {
	if len(r.Addresses) > 0 {
		return asked(t, claims, r)
	}
	pools, err := candidates(t, r)
	if err != nil {
		return Allocation{}, err
	}
	if a, ok := Preferred(t, claims, r); ok {
		return a, nil
	}
	for _, pool := range pools {
		if addrs := firstFree(pool, claims, r.Families, r.Tokens); len(addrs) == len(r.Families) {
			return Allocation{pool.Name, addrs}, nil
		}
	}
	if !r.All {
		for _, family := range r.Families {
			for _, pool := range pools {
				if addrs := firstFree(pool, claims, []Family{family}, r.Tokens); len(addrs) == 1 {
					return Allocation{pool.Name, addrs}, nil
				}
			}
		}
	}
	return Allocation{}, exhausted(pools, r)
}

// candidates lists the pools that the request may draw from.
func candidates(t *Table, r Request) ([]*compiled, error) {
	if r.Pool != "" {
		pool := t.pools[r.Pool]
		if pool == nil {
			return nil, refuse(UnknownPool, "There is no VIPPool %s: create it, or ask for another one", r.Pool)
		}
		if !r.allows(pool) {
			return nil, refuse(PoolNotAllowed, "VIPPool %s is not for this Service: its namespaceSelector or serviceSelector doesn't match", r.Pool)
		}
		return []*compiled{pool}, nil
	}
	var pools []*compiled
	notAuto, notAllowed := 0, 0
	near := t.pools[r.Near]
	if near != nil && r.allows(near) {
		pools = append(pools, near)
	}
	for _, pool := range t.order {
		switch {
		case pool == near:
		case !pool.AutoAssign:
			notAuto++
		case !r.allows(pool):
			notAllowed++
		default:
			pools = append(pools, pool)
		}
	}
	if len(pools) == 0 {
		return nil, refuse(NoPool, "No VIPPool may give this Service an address: %d don't assign automatically, the selectors of %d don't match. Create a VIPPool, or ask for one by annotation", notAuto, notAllowed)
	}
	return pools, nil
}

// MayDraw says whether a request that asks for no address may be given one of a pool.
func (t *Table) MayDraw(r Request, pool string) bool {
	pools, err := candidates(t, r)
	return err == nil && slices.ContainsFunc(pools, func(c *compiled) bool { return c.Name == pool })
}

func (r Request) allows(pool *compiled) bool { return r.Allowed == nil || r.Allowed(pool.Name) }

// asked gives exactly the addresses asked for.
func asked(t *Table, claims *Claims, r Request) (Allocation, error) {
	var a Allocation
	for _, addr := range inOrder(r.Addresses, r.Families) {
		pool, err := t.Permits(r, addr)
		if err != nil {
			return Allocation{}, err
		}
		if a.Pool != "" && pool != a.Pool {
			return Allocation{}, refuse(NotInPool, "%s and %s belong to different VIPPools (%s and %s): ask for addresses of one", a.Addresses[0], addr, a.Pool, pool)
		}
		if claim, blocked := claims.Blocking(addr, r.Tokens); blocked {
			return Allocation{}, refuse(AddressTaken, "%s %s", addr, claim.why())
		}
		a.Pool = pool
		a.Addresses = append(a.Addresses, addr)
	}
	return a, nil
}

// Permits returns the pool of an address that a request asks for, or a *Refusal where no request of this kind may have it,
// whoever has it now.
func (t *Table) Permits(r Request, addr netip.Addr) (pool string, err error) {
	c := t.find(addr)
	switch {
	case c == nil:
		return "", refuse(NotInPool, "%s is in no VIPPool: add it to one, or ask for another address", addr)
	case r.Pool != "" && c.Name != r.Pool:
		return "", refuse(NotInPool, "%s belongs to VIPPool %s, not to %s that was asked for", addr, c.Name, r.Pool)
	case !r.allows(c):
		return "", refuse(PoolNotAllowed, "%s belongs to VIPPool %s, which is not for this Service: its namespaceSelector or serviceSelector doesn't match", addr, c.Name)
	case !c.usable(addr):
		return "", refuse(AddressAvoided, "%s ends in .0 or .255, and VIPPool %s avoids such addresses (avoidBuggyIPs)", addr, c.Name)
	}
	return c.Name, nil
}

// why ends the sentence that begins with the address.
func (c Claim) why() string {
	if c.Note != "" {
		return c.Note
	}
	switch c.Kind {
	case KindVIP:
		return "is taken by VIP " + c.Name
	case KindPod:
		return "is taken by the placeholder pod " + c.Name
	case KindNode:
		return "is the address of node " + c.Name + " and never handed out"
	case KindAPIServer:
		return "is where this cluster's API server is reached (Service default/kubernetes) and never handed out"
	case KindSubnet:
		return "is the network, broadcast or anycast address of a subnet of node " + c.Name + " and never handed out"
	case KindReserved:
		return "is kept for " + c.Name + ", which had it before"
	default:
		return "was used until a moment ago and is free again by itself at " + c.Until.UTC().Format("15:04:05 MST")
	}
}

// Preferred gives the preferred addresses where nothing speaks against it. They need not be of a pool that assigns
// automatically: who had an address keeps it.
func Preferred(t *Table, claims *Claims, r Request) (Allocation, bool) {
	addrs := inOrder(r.Prefer, r.Families)
	if len(addrs) == 0 || r.All && len(addrs) < len(r.Families) {
		return Allocation{}, false
	}
	r.Addresses = addrs
	a, err := asked(t, claims, r)
	return a, err == nil
}

// inOrder sorts one address of each family by the families' order and leaves out other families.
func inOrder(addrs []netip.Addr, families []Family) []netip.Addr {
	var out []netip.Addr
	for _, family := range families {
		for _, addr := range addrs {
			if FamilyOf(addr) == family {
				out = append(out, addr)
				break
			}
		}
	}
	return out
}

// firstFree returns the pool's first free address of each family, or nil if one has none.
func firstFree(pool *compiled, claims *Claims, families []Family, tokens []string) []netip.Addr {
	addrs := make([]netip.Addr, 0, len(families))
	for _, family := range families {
		addr, ok := pool.firstFree(claims, family, tokens)
		if !ok {
			return nil
		}
		addrs = append(addrs, addr)
	}
	return addrs
}

func (c *compiled) firstFree(claims *Claims, family Family, tokens []string) (netip.Addr, bool) {
	for _, r := range c.ranges {
		if FamilyOf(r.From()) != family {
			continue
		}
		for addr := r.From(); addr.IsValid() && !r.To().Less(addr); addr = addr.Next() {
			if !c.usable(addr) {
				continue
			}
			if _, blocked := claims.Blocking(addr, tokens); !blocked {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

func exhausted(pools []*compiled, r Request) error {
	names := make([]string, len(pools))
	for i, pool := range pools {
		names[i] = pool.Name
	}
	families := make([]string, len(r.Families))
	for i, family := range r.Families {
		families[i] = family.String()
	}
	what, where := strings.Join(families, " and "), "VIPPool "+names[0]
	if len(names) > 1 {
		where = "VIPPools " + strings.Join(names, ", ")
	}
	if len(families) > 1 && r.All {
		return refuse(PoolExhausted, "No free pair of %s addresses in one pool: %s. Add addresses of both families to a pool, or delete Services", what, where)
	}
	return refuse(PoolExhausted, "No free %s address: %s. Add addresses to a pool, or delete Services; the address is given as soon as one is free", what, where)
}

package ipam

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Kind says what takes an address.
type Kind int

// Kinds of claims. Where several take one address, the first of this order is named in refusals.
const (
	KindVIP        Kind = iota // a VIP object: allocated, or not yet certainly gone from every node
	KindPod                    // a placeholder pod names it, written by us or by hand
	KindAPIServer              // where the API server is reached: an endpoint or a cluster IP of Service default/kubernetes
	KindNode                   // a node's own address
	KindSubnet                 // the network, broadcast or subnet-router anycast address of a node's subnet
	KindReserved               // a Service had it in its status when the controller started
	KindQuarantine             // its VIP object vanished, a node may still hold it for a moment
)

// Counts says whether a claim of this kind makes the address one that is used (and not merely one that can't be).
func (k Kind) Counts() bool { return k == KindVIP || k == KindPod || k == KindReserved }

// Holder identifies a claim.
type Holder struct {
	Kind Kind
	Name string
}

// Claim takes addresses.
type Claim struct {
	Holder
	Addresses []netip.Addr
	// Tokens let requests that carry one of them have the addresses all the same. None: nobody.
	Tokens []string
	// Note ends the sentence of a refusal that begins with the address. Empty: a sentence made of the kind and the name.
	Note string
	// Until is when the claim ends by itself. Zero: when it is withdrawn.
	Until time.Time
}

// Claims says which addresses are taken, and by whom. The zero value is empty and ready. It isn't safe for concurrent use.
type Claims struct {
	byHolder map[Holder]Claim
	byAddr   map[netip.Addr][]Holder // sorted by kind and name
}

// Set puts a claim in the place of the holder's earlier one. It reports whether that changed anything, and whether it set an
// address free.
func (c *Claims) Set(claim Claim) (changed, freed bool) {
	if old, had := c.byHolder[claim.Holder]; had {
		same := slices.Equal(old.Addresses, claim.Addresses) && slices.Equal(old.Tokens, claim.Tokens) && old.Until.Equal(claim.Until)
		if same && old.Note == claim.Note {
			return false, false
		}
		freed = !same
		c.Withdraw(claim.Holder)
	}
	if c.byHolder == nil {
		c.byHolder, c.byAddr = map[Holder]Claim{}, map[netip.Addr][]Holder{}
	}
	claim.Addresses = slices.Clone(claim.Addresses)
	c.byHolder[claim.Holder] = claim
	for _, addr := range claim.Addresses {
		holders := c.byAddr[addr]
		i, found := slices.BinarySearchFunc(holders, claim.Holder, compareHolders)
		if !found { // a holder may name an address twice
			c.byAddr[addr] = slices.Insert(holders, i, claim.Holder)
		}
	}
	return true, freed
}

// Withdraw ends a holder's claim and reports whether there was one.
func (c *Claims) Withdraw(holder Holder) bool {
	claim, ok := c.byHolder[holder]
	if !ok {
		return false
	}
	delete(c.byHolder, holder)
	for _, addr := range claim.Addresses {
		holders := slices.DeleteFunc(c.byAddr[addr], func(h Holder) bool { return h == holder })
		if len(holders) == 0 {
			delete(c.byAddr, addr)
		} else {
			c.byAddr[addr] = holders
		}
	}
	return true
}

// Expire withdraws the claims that have ended by now, and returns when the next will end (zero: none).
func (c *Claims) Expire(now time.Time) (freed bool, next time.Time) {
	for holder, claim := range c.byHolder {
		switch {
		case claim.Until.IsZero():
		case !now.Before(claim.Until):
			c.Withdraw(holder)
			freed = true
		case next.IsZero() || claim.Until.Before(next):
			next = claim.Until
		}
	}
	return freed, next
}

// On returns the claims on an address, in order of their kinds.
func (c *Claims) On(addr netip.Addr) []Claim {
	holders := c.byAddr[addr]
	claims := make([]Claim, len(holders))
	for i, holder := range holders {
		claims[i] = c.byHolder[holder]
	}
	return claims
}

// Blocking returns the first claim that keeps an address from a request with these tokens.
func (c *Claims) Blocking(addr netip.Addr, tokens []string) (Claim, bool) {
	for _, holder := range c.byAddr[addr] {
		claim := c.byHolder[holder]
		if !slices.ContainsFunc(claim.Tokens, func(token string) bool { return slices.Contains(tokens, token) }) {
			return claim, true
		}
	}
	return Claim{}, false
}

func compareHolders(a, b Holder) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

package agent

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/api/placeholder"
)

// view is what is known of one placeholder on this node.
type view struct {
	// placeholder as last read without a mistake; what follows it isn't disturbed by a mistake made later.
	placeholder placeholder.Placeholder
	// valid says whether it was ever read without a mistake, and mistake what is wrong with it now.
	valid   bool
	mistake error
}

// desired is what the placeholders of this node ask for together. It is not safe for concurrent use.
type desired struct {
	pods map[types.UID]view
}

// set takes a placeholder as the API has it now and returns the addresses that it touches.
func (d *desired) set(p placeholder.Placeholder, mistake error) []netip.Addr {
	next := view{placeholder: p, valid: mistake == nil, mistake: mistake}
	previous, known := d.pods[p.UID]
	if mistake != nil && known && previous.valid {
		next.placeholder, next.valid = previous.placeholder, true
		next.placeholder.Ending, next.placeholder.Release = p.Ending, p.Release
	}
	d.pods[p.UID] = next
	touched := previous.placeholder.Addresses
	return append(slices.Clone(touched), next.placeholder.Addresses...)
}

// remove forgets a placeholder that is gone from the API and returns the addresses that it touches.
func (d *desired) remove(uid types.UID) []netip.Addr {
	previous := d.pods[uid]
	delete(d.pods, uid)
	return previous.placeholder.Addresses
}

// owner picks the placeholder that speaks for an address: one that stays, active before standby, the highest term first; else
// one that is released; else one that ends.
func (d *desired) owner(addr netip.Addr) (placeholder.Placeholder, bool) {
	var candidates []placeholder.Placeholder
	for _, v := range d.pods {
		if v.valid && slices.Contains(v.placeholder.Addresses, addr) {
			candidates = append(candidates, v.placeholder)
		}
	}
	if len(candidates) == 0 {
		return placeholder.Placeholder{}, false
	}
	return slices.MinFunc(candidates, func(a, b placeholder.Placeholder) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Role, b.Role), cmp.Compare(b.Term, a.Term), cmp.Compare(a.UID, b.UID))
	}), true
}

func rank(p placeholder.Placeholder) int {
	switch {
	case p.Release:
		return 1
	case p.Ending:
		return 2
	}
	return 0
}

// wish turns the owner of an address into what its place is told; nil when nobody names the address.
func (d *desired) wish(addr netip.Addr) *place.Wish {
	owner, ok := d.owner(addr)
	if !ok {
		return nil
	}
	return wishOf(owner, addr)
}

// wishOf reads what a placeholder asks of the place of one of its addresses. Its peers are in order of succession.
func wishOf(owner placeholder.Placeholder, addr netip.Addr) *place.Wish {
	index := slices.Index(owner.Addresses, addr)
	wish := &place.Wish{
		Pod: string(owner.UID), Interfaces: owner.Interfaces, Term: owner.Term, Standby: owner.Role == placeholder.Standby,
		Peers: map[place.MAC]uint8{}, Ending: owner.Ending, Release: owner.Release,
	}
	standbys := uint8(0) // listed so far
	replaced := false    // the list names another active
	for _, peer := range owner.Peers {
		mine := peer.Node == owner.Node
		at := uint8(0)
		switch peer.Role {
		case placeholder.Active:
			at, replaced = 1, replaced || !mine
		case placeholder.Standby:
			standbys++
			at = 1 + standbys
		}
		if mine { // we are no peer of ourselves
			wish.Place = at
			continue
		}
		macs := parseMACs(peer.Expected(index))
		for _, mac := range macs {
			wish.Peers[mac] = at
		}
		switch {
		case len(macs) == 0:
		case at == 1 && wish.Standby && wish.Active == (place.MAC{}):
			wish.Active = macs[0]
		case at == 0 && wish.Previous == (place.MAC{}):
			wish.Previous = macs[0]
		}
	}
	switch {
	case !wish.Standby && replaced:
		wish.Place = 0 // somebody else has succeeded us, and we'll be told
	case !wish.Standby:
		wish.Place = 1
	case wish.Place < 2: // not in the list yet: behind all that are
		wish.Place = 2 + standbys
	}
	return wish
}

func macsOf(peer placeholder.Peer) []place.MAC { return parseMACs(peer.MACs) }

func parseMACs(texts []string) []place.MAC {
	var macs []place.MAC
	for _, text := range texts {
		if mac, err := net.ParseMAC(text); err == nil && len(mac) == 6 {
			macs = append(macs, place.MAC(mac))
		}
	}
	return macs
}

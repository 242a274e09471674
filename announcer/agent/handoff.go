package agent

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"evenkeel.io/evenkeel/announcer/handoff"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/relay"
	"evenkeel.io/evenkeel/api/placeholder"
)

// Handoff hands established connections on to the nodes that served them; relay.Relay is one.
type Handoff interface {
	// Set asks for the complete set; done is called when it is in force, or can't be.
	Set(ctx context.Context, wish relay.Wish, done func())
}

// setHandoff tells whose connections to hand on, when that has changed. Before the NICs are known nothing can be said.
func (a *Agent) setHandoff(ctx context.Context) {
	if len(a.nics) == 0 {
		return
	}
	wish := a.handoffWish()
	if reflect.DeepEqual(wish, a.handed) {
		return
	}
	a.handed = wish
	a.handing++
	number := a.handing
	a.opts.Handoff.Set(ctx, wish, func() {
		a.inbox.send(func() {
			a.handedOn = max(a.handedOn, number)
			a.bindReady(ctx)
		})
	})
}

func (a *Agent) handoffWish() relay.Wish {
	wish := relay.Wish{Gone: map[string]bool{}}
	peers := map[place.MAC]bool{}
	for _, addr := range slices.SortedFunc(maps.Keys(a.places), netip.Addr.Compare) {
		p := a.places[addr]
		index, ok := a.nicIndex(p.NIC().Name)
		if !ok || p.State() == place.Idle || p.owner.UID == "" {
			continue
		}
		vip := handoff.VIP{
			Addr: addr, Interface: index, Subnets: subnetsOf(a.nics, index),
			Held: p.Bound() || p.State() == place.Binding, Off: p.owner.NoHandoff, Earlier: earlierOwners(p.owner),
		}
		wish.VIPs = append(wish.VIPs, vip)
		silenced := p.Silenced()
		for _, peer := range p.owner.Peers {
			if peer.Node == p.owner.Node {
				continue // our own place in the list
			}
			for _, mac := range macsOf(peer) {
				peers[mac] = true
				if mac == silenced {
					wish.Gone[peer.Node] = true
				}
			}
		}
	}
	wish.Peers = slices.SortedFunc(maps.Keys(peers), func(x, y place.MAC) int { return slices.Compare(x[:], y[:]) })
	return wish
}

// earlierOwners are those who have announced a placeholder's VIP before this node does, the latest first: for a standby, the active
// comes first.
func earlierOwners(owner placeholder.Placeholder) []handoff.Owner {
	var list []handoff.Owner
	for _, peer := range owner.Peers {
		if (peer.Role != placeholder.Standby || peer.Owned) && peer.Node != owner.Node {
			list = append(list, handoff.Owner{Node: peer.Node, MACs: macsOf(peer), Addrs: peer.Addresses})
		}
	}
	return list
}

func subnetsOf(nics []nic.NIC, index int) []netip.Prefix {
	for _, n := range nics {
		if n.Index == index {
			return n.Addresses
		}
	}
	return nil
}

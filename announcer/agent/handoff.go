package agent

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"evenkeel.io/evenkeel/announcer/handoff"
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
	if len(a.nics) == 0 || !a.moved {
		return
	}
	a.moved = false
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
	var wish relay.Wish
	peers := map[place.MAC]bool{}
	for _, addr := range slices.SortedFunc(maps.Keys(a.places), netip.Addr.Compare) {
		p := a.places[addr]
		on, ok := a.nicNamed(p.NIC().Name)
		if !ok || p.State() == place.Idle || p.owner.UID == "" {
			continue
		}
		wish.VIPs = append(wish.VIPs, handoff.VIP{
			Addr: addr, Interface: on.Index, Subnets: on.Addresses,
			Held: p.Bound() || p.State() == place.Binding, Off: p.owner.NoHandoff, Earlier: earlierOwners(p.owner, p.Silenced()),
		})
		for _, peer := range p.owner.Peers {
			if peer.Node == p.owner.Node {
				continue // our own place in the list
			}
			for _, mac := range macsOf(peer) {
				peers[mac] = true
			}
		}
	}
	wish.Peers = slices.SortedFunc(maps.Keys(peers), place.MAC.Compare)
	return wish
}

// earlierOwners are those who have announced a placeholder's VIP before this node does, the latest first: for a standby, the active
// comes first. silenced is the one that fell silent; zero: none did.
func earlierOwners(owner placeholder.Placeholder, silenced place.MAC) []handoff.Owner {
	var list []handoff.Owner
	for _, peer := range owner.Peers {
		if (peer.Role != placeholder.Standby || peer.Owned) && peer.Node != owner.Node {
			macs := macsOf(peer)
			list = append(list, handoff.Owner{Node: peer.Node, MACs: macs, Addrs: peer.Addresses, Silent: slices.Contains(macs, silenced)})
		}
	}
	return list
}

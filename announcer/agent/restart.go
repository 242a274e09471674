package agent

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/api/placeholder"
)

// Adopted is an address that an earlier process left bound and the binder renews again.
type Adopted struct {
	Binding   address.Binding
	Interface string
	// Saved is what the state file knew of it; the zero value where it knew nothing.
	Saved state.VIP
}

// Plan matches what is bound with what the state file says. Addresses that carry our marker are ours in any case; those that
// only look like it are ours when the file names them.
func Plan(leftovers []address.Leftover, saved state.State) []Adopted {
	byAddr := map[netip.Addr]state.VIP{}
	for _, vip := range saved.VIPs {
		for _, a := range vip.Addresses {
			byAddr[a.Addr] = vip
		}
	}
	var plan []Adopted
	for _, left := range leftovers {
		vip, known := byAddr[left.Addr]
		if !left.Marked && !known {
			continue
		}
		requireOwn := true
		for _, a := range vip.Addresses {
			if a.Addr == left.Addr {
				requireOwn = a.RequireOwn
			}
		}
		plan = append(plan, Adopted{
			Binding:   address.Binding{Addr: left.Addr, Interface: left.Interface, RequireOwn: requireOwn},
			Interface: left.Name,
			Saved:     vip,
		})
	}
	return plan
}

// Adopt takes over addresses before Run, and goes on guarding what an earlier process guarded.
func (a *Agent) Adopt(ctx context.Context, adopted []Adopted, saved state.State) {
	now := a.opts.Clock.Now()
	nics := map[string]bool{}
	for _, one := range adopted {
		nics[one.Interface] = true
		p := a.place(one.Binding.Addr)
		p.Adopt(place.NIC{Name: one.Interface, RequireOwn: one.Binding.RequireOwn}, memoryOf(one.Saved, one.Binding.Addr), now)
		p.since, p.owner = one.Saved.HeldSince, a.ownerOf(one.Saved)
		if p.owner.UID != "" { // what that process was told still holds, until the API says otherwise
			a.carryOut(ctx, one.Binding.Addr, p.SetWish(wishOf(p.owner, one.Binding.Addr), now))
		}
	}
	for _, vip := range saved.VIPs {
		for _, one := range vip.Addresses {
			if _, known := a.places[one.Addr]; known || !one.Guarded {
				continue
			}
			p := a.place(one.Addr)
			p.owner = a.ownerOf(vip)
			p.Remember(memoryOf(vip, one.Addr))
			a.carryOut(ctx, one.Addr, p.SetWish(wishOf(p.owner, one.Addr), now))
		}
	}
	for name := range nics {
		// While no process ran here a claim may have been missed. The inbox is emptied only when the wire is open.
		a.inbox.send(func() { a.askAll(ctx, name) })
	}
	a.setGuard(ctx)
}

// memoryOf is what the state file knows of one address of a VIP.
func memoryOf(vip state.VIP, addr netip.Addr) place.Memory {
	for _, one := range vip.Addresses {
		if one.Addr != addr {
			continue
		}
		memory := place.Memory{Title: place.Title(one.Title), PeerTitle: place.Title(one.PeerTitle), Had: one.Had, Silenced: one.Silenced}
		if mac, err := net.ParseMAC(one.Peer); err == nil && len(mac) == 6 {
			memory.Peer = place.MAC(mac)
		}
		return memory
	}
	return place.Memory{}
}

func (a *Agent) ownerOf(vip state.VIP) placeholder.Placeholder {
	owner := placeholder.Placeholder{
		Pod: types.NamespacedName{Namespace: vip.Pod.Namespace, Name: vip.Pod.Name},
		UID: types.UID(vip.Pod.UID), VIP: vip.Name, Role: placeholder.Role(vip.Role), Term: vip.Term, Node: a.opts.Node, Interfaces: vip.Interfaces,
		NoHandoff: vip.NoHandoff,
	}
	if !vip.Local { // host-served or not is all that its Service is asked for before the API's list is there
		owner.Service = types.NamespacedName{Namespace: "unknown", Name: "unknown"}
	}
	for _, one := range vip.Addresses {
		owner.Addresses = append(owner.Addresses, one.Addr)
	}
	for _, port := range vip.Ports {
		owner.Ports = append(owner.Ports, placeholder.Port{Protocol: strings.ToLower(port.Protocol), Port: port.Port})
	}
	if peers, err := placeholder.ParsePeers(vip.Peers); err == nil {
		owner.Peers = peers
	}
	return owner
}

// save writes what must survive a restart, when it has changed.
func (a *Agent) save(ctx context.Context) {
	for _, p := range a.places {
		if memory := p.Memory(); memory != p.saved {
			p.saved, a.dirty = memory, true
		}
	}
	if !a.dirty {
		return
	}
	if err := a.opts.Store.Save(a.snapshot()); err != nil {
		// The addresses' own marker still lets the next process adopt them.
		klog.FromContext(ctx).Error(err, "Saving the state failed")
	}
	a.dirty = false
}

func (a *Agent) snapshot() state.State {
	vips := map[types.UID]*state.VIP{}
	for addr, p := range a.places {
		guarding := p.State() == place.Guarding
		if !p.Bound() && !guarding || p.owner.UID == "" { // who it is for is unknown: its marker lets the next process adopt it
			continue
		}
		vip, ok := vips[p.owner.UID]
		if !ok {
			vip = &state.VIP{
				Name: p.owner.VIP, Role: string(p.owner.Role), Term: p.owner.Term, HeldSince: p.since,
				Peers: placeholder.FormatPeers(p.owner.Peers), Interfaces: p.owner.Interfaces, Local: p.owner.Service.Name == "", NoHandoff: p.owner.NoHandoff,
				Pod: state.Pod{Namespace: p.owner.Pod.Namespace, Name: p.owner.Pod.Name, UID: string(p.owner.UID)},
			}
			for _, port := range p.owner.Ports {
				vip.Ports = append(vip.Ports, state.Port{Protocol: strings.ToUpper(port.Protocol), Port: port.Port})
			}
			vips[p.owner.UID] = vip
		}
		memory := p.Memory()
		one := state.Address{
			Addr: addr, Interface: p.NIC().Name, RequireOwn: p.NIC().RequireOwn, Guarded: guarding,
			Title: state.Title(memory.Title), PeerTitle: state.Title(memory.PeerTitle), Had: memory.Had, Silenced: memory.Silenced,
		}
		if memory.Peer != (place.MAC{}) {
			one.Peer = memory.Peer.String()
		}
		vip.Addresses = append(vip.Addresses, one)
	}
	var saved state.State
	for _, vip := range vips {
		slices.SortFunc(vip.Addresses, func(x, y state.Address) int { return x.Addr.Compare(y.Addr) })
		saved.VIPs = append(saved.VIPs, *vip)
	}
	slices.SortFunc(saved.VIPs, func(x, y state.VIP) int { return x.Addresses[0].Addr.Compare(y.Addresses[0].Addr) })
	return saved
}

// removeLeftovers removes addresses with our marker that nobody wants: it is called once the API's list is complete.
func (a *Agent) removeLeftovers(ctx context.Context) {
	logger := klog.FromContext(ctx)
	leftovers, err := a.opts.Binder.Leftovers(ctx)
	if err != nil {
		logger.Error(err, "Looking for addresses left behind failed, their lifetimes end them")
		return
	}
	for _, left := range leftovers {
		if _, wanted := a.places[left.Addr]; wanted || !left.Marked {
			continue
		}
		if err := a.opts.Binder.RemoveLeftover(ctx, left); err != nil {
			logger.Error(fmt.Errorf("removing %s from %s: %w", left.Addr, left.Name, err), "Removing an address left behind failed, its lifetime ends it")
			continue
		}
		logger.Info("Removed an address that an earlier process had left behind", "vip", left.Addr, "interface", left.Name)
	}
}

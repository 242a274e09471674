package handoff

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// MAC is an Ethernet address.
type MAC = wire.MAC

// Owner is a node that has announced a VIP.
type Owner struct {
	Node string
	// MACs of the NICs by which it may send copies; without any nothing is handed on to it.
	MACs []MAC
	// Addrs are its own addresses, no VIPs.
	Addrs []netip.Addr
	// Silent: the VIP was taken over from it because it no longer answered, so that what it served is lost.
	Silent bool
}

// VIP is an address that has a place on this node.
type VIP struct {
	Addr netip.Addr
	// Interface is the index of the NIC that it is announced on, and Subnets are that NIC's: an earlier owner is reached
	// only by an address within them, or by an IPv6 link-local one, as what a router got would come back to us.
	Interface int
	Subnets   []netip.Prefix
	// Held says that this node answers for the address or is about to. A VIP that it doesn't hold (a standby's) is only
	// guarded: copies of flows that this node doesn't know are dropped.
	Held bool
	// Off is the wish of its Service that flows aren't handed on.
	Off bool
	// Earlier owners, the newest first. At most Slots are served; this node itself is passed over.
	Earlier []Owner
}

// reach picks the address by which copies leave: one on the VIP's own segment.
func (v VIP) reach(addrs []netip.Addr) (netip.Addr, bool) {
	var local netip.Addr
	for _, a := range addrs {
		a = a.WithZone("")
		if a.Is4() != v.Addr.Is4() || a == v.Addr {
			continue
		}
		if a.Is6() && a.IsLinkLocalUnicast() && !local.IsValid() {
			local = a
		}
		if slices.ContainsFunc(v.Subnets, func(p netip.Prefix) bool { return p.Contains(a) }) && !a.IsLinkLocalUnicast() {
			return a, true
		}
	}
	return local, local.IsValid()
}

// Input is all that Update decides by.
type Input struct {
	VIPs []VIP
	// Peers are the MACs of all other nodes that may have a place of any VIP; those of earlier owners need not be listed.
	Peers []MAC
	// Dead says whether a node is off the segment; nil: none is.
	Dead func(node string) bool
	// Uses is what Table.Stats says.
	Uses map[netip.Addr]Use
}

// gone says whether what an earlier owner served is lost.
func (in Input) gone(o Owner) bool { return o.Silent || in.Dead != nil && in.Dead(o.Node) }

// Use is the traffic that was handed on for a VIP. The kernel can't say by which earlier owner it was served, as each gets
// a copy of all of it.
type Use struct {
	// Last packet's time; zero if there was none that the kernel remembers: for Limits.Idle, at most Options.Timeout.
	Last time.Time
	// Packets and Bytes handed on since this process opened the table, and what was there then. Bytes count from the IP header.
	Packets, Bytes uint64
	// Refused are frames that were copies already, or came from a peer, and were dropped.
	Refused uint64
	// Flows seen within that time. A flow that has ended counts for that time, too.
	Flows int
}

// Result of an Update.
type Result struct {
	State   State
	Ended   []Ended
	Skipped []Skip
}

// Reason of an entry's end.
type Reason string

// Reasons of an entry's end.
const (
	Quiet   Reason = "Quiet"   // no packet for Limits.Idle
	Expired Reason = "Expired" // older than Limits.Max
	Gone    Reason = "Gone"    // its node is off the segment, or the VIP was taken over from it in silence
	Bereft  Reason = "Bereft"  // another earlier owner is dead, whose flows are to be reset
	Left    Reason = "Left"    // the VIP left this node
	Off     Reason = "Off"     // the Service doesn't want it
	Crowded Reason = "Crowded" // more than Slots earlier owners
)

// Ended is an entry that is no more.
type Ended struct {
	VIP    netip.Addr
	Node   string
	Reason Reason
	// Flows that were handed on lately for the VIP (see Use): some of them may have been served by this node
	// and are cut now (unless Reason is Left: the next owner hands them on).
	Flows int
}

// Why an earlier owner is passed over.
const (
	NoMAC     = "its MAC address isn't known"
	NotOnLink = "it has no address on the VIP's segment"
)

// Skip is an earlier owner that nothing can be handed on to, for now.
type Skip struct {
	VIP       netip.Addr
	Node, Why string
}

// State is what the kernel holds. Its lists are in order, so that equal states are equal deeply.
type State struct {
	Guards  []Guard
	Peers   []MAC
	Entries []Entry
}

// Guard is a VIP for which copies of unknown flows end here.
type Guard struct {
	VIP       netip.Addr
	Interface int
	// Held says that this node held the VIP. It is only remembered: see Core.Adopt.
	Held bool
}

func (g Guard) compare(o Guard) int {
	return cmp.Or(g.VIP.Compare(o.VIP), cmp.Compare(g.Interface, o.Interface))
}

// Entry hands unknown packets to VIP that come in by Interface on to To, out of the same interface.
type Entry struct {
	VIP       netip.Addr
	Interface int
	// Slot is 0 for the newest earlier owner; slots have no gaps.
	Slot int
	To   netip.Addr
	// Node, Started and Used are only remembered. The kernel keeps times to the second, and names of up to 200 bytes.
	Node    string
	Started time.Time
	// Used is when a packet was last handed on for the VIP, rounded up to a minute; zero if none was.
	Used time.Time
}

func (e Entry) compare(o Entry) int { return cmp.Or(e.VIP.Compare(o.VIP), cmp.Compare(e.Slot, o.Slot)) }

// check refuses what the rules don't reckon with.
func (s State) check() error {
	guarded := map[Guard]bool{}
	for _, g := range s.Guards {
		g.Held = false
		if !g.VIP.IsValid() || g.VIP.Is4In6() || g.VIP.Zone() != "" || g.Interface <= 0 || guarded[g] {
			return fmt.Errorf("checking %s on interface %d: no address, no interface or named twice", g.VIP, g.Interface)
		}
		guarded[g] = true
	}
	slots := map[netip.Addr][]Entry{}
	for _, e := range s.Entries {
		before := slots[e.VIP]
		switch {
		case !guarded[Guard{VIP: e.VIP, Interface: e.Interface}]:
			return fmt.Errorf("checking slot %d of %s: it isn't guarded against loops", e.Slot, e.VIP)
		case e.Slot != len(before) || e.Slot >= Slots || len(before) > 0 && before[0].Interface != e.Interface:
			return fmt.Errorf("checking slot %d of %s: not the next one", e.Slot, e.VIP)
		case !e.To.IsValid() || e.To.Is4() != e.VIP.Is4() || e.To.Is4In6() || e.To.Zone() != "" || e.To == e.VIP:
			return fmt.Errorf("checking slot %d of %s: can't hand on to %s", e.Slot, e.VIP, e.To)
		case len(s.Peers) == 0:
			return fmt.Errorf("checking slot %d of %s: no peer's MAC is known", e.Slot, e.VIP)
		}
		slots[e.VIP] = append(before, e)
	}
	return nil
}

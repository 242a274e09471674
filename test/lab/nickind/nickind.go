// Package nickind attaches a namespace to a switch by the kinds of network interfaces that nodes have: a NIC as it is, one in a bridge,
// two in a bond, a VLAN.
package nickind

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// Kind of interface.
type Kind string

// The kinds.
const (
	Plain  Kind = "plain"
	Bridge Kind = "bridge"
	Bond   Kind = "bond"
	VLAN   Kind = "vlan"
)

// vlanID is the number of the VLAN, the same on the switch.
const vlanID = 12

// All lists the kinds.
func All() []Kind { return []Kind{Plain, Bridge, Bond, VLAN} }

// Interface is the name of what carries the addresses. first is the name of the NIC that it is made of.
func (k Kind) Interface(first string) string {
	switch k {
	case Bridge:
		return "br-" + first
	case Bond:
		return "bond-" + first
	case VLAN:
		return fmt.Sprintf("%s.%d", first, vlanID)
	}
	return first
}

// Ports are the names of the switch's ports, made from the first one's name.
func (k Kind) Ports(first string) []string {
	if k == Bond {
		return []string{first, first + "b"}
	}
	return []string{first}
}

// Supported is nil where the kernel has the kind; it makes one in the calling thread's namespace and deletes it. The error says what
// is missing.
func (k Kind) Supported() error {
	const name, parent = "try-kind", "try-parent"
	var link netlink.Link
	switch k {
	case Plain, Bridge:
		return nil // as the lab itself needs them
	case Bond:
		link = bondOf(name)
	case VLAN:
		under := &netlink.Veth{LinkAttrs: named(parent), PeerName: parent + "p"}
		if err := netlink.LinkAdd(under); err != nil {
			return fmt.Errorf("making a NIC to try a VLAN on: %w", err)
		}
		defer func() { _ = netlink.LinkDel(under) }()
		link = vlanOf(name, under.Index)
	default:
		return fmt.Errorf("%q is no kind of interface", k)
	}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("this kernel has no %s: %w", k, err)
	}
	return netlink.LinkDel(link)
}

func named(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}

func bondOf(name string) *netlink.Bond {
	bond := netlink.NewLinkBond(named(name))
	bond.Mode, bond.Miimon = netlink.BOND_MODE_ACTIVE_BACKUP, 20 // ms between looks at the ports' carriers
	return bond
}

func vlanOf(name string, parent int) *netlink.Vlan {
	vlan := &netlink.Vlan{LinkAttrs: named(name), VlanId: vlanID}
	vlan.ParentIndex = parent
	return vlan
}

// Options of Attach.
type Options struct {
	Kind Kind
	// Switch is the index of a bridge in the calling thread's namespace, Port the name of the first port that it gets there.
	Switch int
	Port   string
	// Namespace is the file descriptor of the host's, Inside a handle for it, First the name of its NIC there and MAC the address of
	// what carries its addresses.
	Namespace int
	Inside    *netlink.Handle
	First     string
	MAC       net.HardwareAddr
}

// Attach makes the interfaces, up on both ends.
func Attach(o Options) error {
	var nics []string
	for i, port := range o.Kind.Ports(o.Port) {
		name := o.First
		if i > 0 {
			name += "b"
		}
		nics = append(nics, name)
		if err := o.cable(port, name); err != nil {
			return err
		}
	}
	if err := o.build(nics); err != nil {
		return fmt.Errorf("making %s of %v: %w", o.Kind.Interface(o.First), nics, err)
	}
	return nil
}

// cable connects a NIC of the host with a port of the switch.
func (o Options) cable(port, name string) error {
	attrs := named(port)
	if o.Kind != VLAN { // of which only tagged frames are the switch's
		attrs.MasterIndex = o.Switch
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(o.Namespace)}
	if o.Kind == Plain || o.Kind == VLAN {
		veth.PeerHardwareAddr = o.MAC
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("connecting port %s with %s: %w", port, name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("raising port %s: %w", port, err)
	}
	if o.Kind != VLAN {
		return nil
	}
	tagged := vlanOf(VLAN.Interface(port), veth.Index)
	tagged.MasterIndex = o.Switch
	if err := netlink.LinkAdd(tagged); err != nil {
		return fmt.Errorf("tagging port %s: %w", port, err)
	}
	return netlink.LinkSetUp(tagged)
}

// build makes what carries the addresses of the NICs.
func (o Options) build(nics []string) error {
	var links []netlink.Link
	for _, name := range nics {
		link, err := o.Inside.LinkByName(name)
		if err != nil {
			return fmt.Errorf("finding %s: %w", name, err)
		}
		links = append(links, link)
	}
	var top netlink.Link
	switch name := o.Kind.Interface(o.First); o.Kind {
	case Plain:
		return o.Inside.LinkSetUp(links[0])
	case Bridge:
		off := false
		bridge := &netlink.Bridge{LinkAttrs: named(name), MulticastSnooping: &off}
		bridge.HardwareAddr = o.MAC
		top = bridge
	case Bond:
		bond := bondOf(name)
		bond.HardwareAddr = o.MAC
		top = bond
	case VLAN:
		top = vlanOf(name, links[0].Attrs().Index)
	default:
		return fmt.Errorf("%q is no kind of interface", o.Kind)
	}
	if err := o.Inside.LinkAdd(top); err != nil {
		return err
	}
	var errs []error
	for _, link := range links {
		if o.Kind != VLAN { // a bond takes no NIC that is up
			errs = append(errs, o.Inside.LinkSetMasterByIndex(link, top.Attrs().Index))
		}
		errs = append(errs, o.Inside.LinkSetUp(link))
	}
	return errors.Join(append(errs, o.Inside.LinkSetUp(top))...)
}

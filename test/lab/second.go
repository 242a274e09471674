package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/test/lab/nickind"
)

// The second segment, of a lab with Options.SecondNICs: a switch of its own, with a client and a NIC of every node. 203.0.113.10 to .99
// and 2001:db8:1::/112 are free for pools. No router leads there.
var (
	SecondV4 = netip.MustParsePrefix("203.0.113.0/24")
	SecondV6 = netip.MustParsePrefix("2001:db8:1::/64")
)

// secondBridge is its switch, secondNIC the NIC that a node's interface there is made of.
const (
	secondBridge = "segment2"
	secondNIC    = "eth1"
)

// Second is how a node is attached to the second segment.
type Second struct {
	Kind nickind.Kind
	// Name of the interface that carries the addresses.
	Name   string
	MAC    net.HardwareAddr
	V4, V6 netip.Addr
}

// secondMAC tells the host and the segment to a person.
func secondMAC(host int) net.HardwareAddr { return net.HardwareAddr{0x02, 0, 0, 0, 1, byte(host)} }

// secondPort is the first of a host's ports at the second switch.
func secondPort(host string) string { return "q-" + host }

// secondOf describes the second NIC of node i; nil in a lab without.
func (o *Options) secondOf(i int) *Second {
	if len(o.SecondNICs) == 0 {
		return nil
	}
	kind, host := o.SecondNICs[(i-1)%len(o.SecondNICs)], nodeHost+i
	return &Second{
		Kind: kind, Name: kind.Interface(secondNIC), MAC: secondMAC(host),
		V4: host4(SecondV4, host).Addr(), V6: host6(SecondV6, host).Addr(),
	}
}

// newSecondSegment makes the switch and its client.
func newSecondSegment() (*Host, error) {
	if err := newSwitch(secondBridge); err != nil {
		return nil, fmt.Errorf("making the second segment: %w", err)
	}
	ns, err := newNetns("second-client")
	if err != nil {
		return nil, err
	}
	h := &Host{Netns: ns, V4: host4(SecondV4, clientHost).Addr(), V6: host6(SecondV6, clientHost).Addr(), MAC: secondMAC(clientHost)}
	if err := ns.attach(nickind.Plain, nic, h.MAC); err != nil {
		return h, err
	}
	return h, ns.setUp(nic, host4(SecondV4, clientHost), host6(SecondV6, clientHost))
}

// attach gives the namespace an interface on the second segment.
func (n *Netns) attach(kind nickind.Kind, first string, mac net.HardwareAddr) error {
	bridge, err := netlink.LinkByName(secondBridge)
	if err != nil {
		return fmt.Errorf("finding the second segment: %w", err)
	}
	err = n.netlink(func(h *netlink.Handle) error {
		return nickind.Attach(nickind.Options{
			Kind: kind, Switch: bridge.Attrs().Index, Port: secondPort(n.name), Namespace: int(n.handle), Inside: h, First: first, MAC: mac,
		})
	})
	if err != nil {
		return fmt.Errorf("attaching %s to the second segment: %w", n.name, err)
	}
	return nil
}

// joinSecond plugs the node's second NIC in.
func (n *Node) joinSecond() error {
	if n.Second == nil {
		return nil
	}
	if err := n.attach(n.Second.Kind, secondNIC, n.Second.MAC); err != nil {
		return err
	}
	host := nodeHost + n.index
	return n.setUp(n.Second.Name, host4(SecondV4, host), host6(SecondV6, host))
}

// secondPorts are the node's ports at the second switch.
func (n *Node) secondPorts() []string {
	if n.Second == nil {
		return nil
	}
	return n.Second.Kind.Ports(secondPort(n.name))
}

// setSecondPorts changes whether the second switch forwards on the node's ports. Of a tagged port its VLAN's is the switch's.
func (n *Node) setSecondPorts(state byte) error {
	var errs []error
	for _, port := range n.secondPorts() {
		if n.Second.Kind == nickind.VLAN {
			port = n.Second.Kind.Interface(port)
		}
		errs = append(errs, setPortState(port, state))
	}
	return errors.Join(errs...)
}

// unplugSecond removes the node's ports at the second switch, with the NICs at their other ends.
func (n *Node) unplugSecond() error {
	var errs []error
	for _, port := range n.secondPorts() {
		errs = append(errs, deleteLink(port))
	}
	return errors.Join(errs...)
}

// CutSecond separates the node from the second segment alone, until RestoreSecond.
func (n *Node) CutSecond(how Cut) error {
	if how == CarrierKept {
		return n.setSecondPorts(bridgeStateDisabled)
	}
	return n.raiseSecond(false)
}

// RestoreSecond ends a CutSecond of either kind.
func (n *Node) RestoreSecond() error {
	return errors.Join(n.raiseSecond(true), n.setSecondPorts(bridgeStateForwarding))
}

func (n *Node) raiseSecond(up bool) error {
	var errs []error
	for _, port := range n.secondPorts() {
		errs = append(errs, setPortUp(port, up))
		if up && n.Second.Kind == nickind.VLAN { // it went down with the port that it is on, and comes up by itself only on some kernels
			errs = append(errs, setPortUp(n.Second.Kind.Interface(port), true))
		}
	}
	return errors.Join(errs...)
}

// RouteSecond has the client of the second segment look for addresses there that lie outside of its subnets, as a router that has an
// on-link route for a pool does.
func (c *Cluster) RouteSecond(prefixes ...netip.Prefix) error {
	var routes []route
	for _, prefix := range prefixes {
		routes = append(routes, route{dst: prefix, dev: nic})
	}
	return c.SecondClient.addRoutes(routes...)
}

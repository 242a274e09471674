package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PowerLoss takes the node's power away: the segment hears nothing of it from
// the first instant, every process in its namespaces is killed, and the
// namespaces with all state in them are gone.
func (c *Cluster) PowerLoss(n *Node) error {
	// Silence first: killing takes a while, and the dying would still answer.
	if err := errors.Join(setPortState(portName(n.name), bridgeStateDisabled), n.setSecondPorts(bridgeStateDisabled)); err != nil {
		return fmt.Errorf("cutting the power of %s: %w", n.name, err)
	}
	n.mu.Lock()
	n.resume = nil
	for _, p := range []*Process{n.Kubelet, n.Proxy, n.Announcer} {
		if p != nil && p.Running() {
			n.resume = append(n.resume, p)
		}
	}
	n.mu.Unlock()
	err := errors.Join(
		killAll(n.Netns, n.pods),
		n.stopBackend(),
		deleteLink(portName(n.name)),
		n.unplugSecond(),
		n.pods.remove(),
		n.remove(),
	)
	if err := os.RemoveAll(n.stateDir); err != nil {
		return fmt.Errorf("cutting the power of %s: dropping its state: %w", n.name, err)
	}
	if err != nil {
		return fmt.Errorf("cutting the power of %s: %w", n.name, err)
	}
	return nil
}

// PowerOn boots a node after a PowerLoss, with the processes that ran then. It
// doesn't wait for the node to be ready.
func (c *Cluster) PowerOn(ctx context.Context, n *Node) error {
	if err := n.assemble(ctx); err != nil {
		return fmt.Errorf("booting %s: %w", n.name, err)
	}
	if err := c.routeAround(n); err != nil {
		return fmt.Errorf("booting %s: %w", n.name, err)
	}
	n.mu.Lock()
	resume := n.resume
	n.resume = nil
	n.mu.Unlock()
	for _, p := range resume {
		start := p.Start
		if p == n.Kubelet {
			start = func() error { return n.StartKubelet(ctx) }
		}
		if err := start(); err != nil {
			return fmt.Errorf("booting %s: %w", n.name, err)
		}
	}
	return nil
}

// routeAround leads from n to the pods of all other nodes. Their routes to n's
// pods outlived it.
func (c *Cluster) routeAround(n *Node) error {
	for _, other := range c.Nodes {
		if other == n {
			continue
		}
		if err := n.routePods(other); err != nil {
			return err
		}
	}
	return nil
}

// WaitForNode returns when the node is Ready and its kube-proxy has synced.
func (c *Cluster) WaitForNode(ctx context.Context, n *Node) error {
	return c.waitForNode(ctx, n)
}

// Cut is a way to separate a host from the segment.
type Cut int

const (
	// CarrierLost pulls the cable: the host sees its link go down.
	CarrierLost Cut = iota
	// CarrierKept disables the switch's port: the host's link stays up, and nothing
	// passes.
	CarrierKept
)

// CutPort separates the host from the segment until RestorePort.
func (h *Host) CutPort(how Cut) error {
	if how == CarrierKept {
		return setPortState(portName(h.name), bridgeStateDisabled)
	}
	return setPortUp(portName(h.name), false)
}

// RestorePort ends a CutPort of either kind.
func (h *Host) RestorePort() error {
	if err := setPortUp(portName(h.name), true); err != nil {
		return err
	}
	return setPortState(portName(h.name), bridgeStateForwarding)
}

// StopAPIServer ends the API server at once; its data stay.
func (c *Cluster) StopAPIServer() error { return c.APIServer.Kill() }

// StartAPIServer starts the API server again and waits until it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error { return c.cp.startAPI(ctx) }

// Addresses lists what stands on the node's NIC, in the kernel's order, without
// link-local ones, and after it on the NIC of the second segment.
func (n *Node) Addresses() ([]netip.Prefix, error) {
	names := []string{nic}
	if n.Second != nil {
		names = append(names, n.Second.Name)
	}
	var out []netip.Prefix
	err := n.netlink(func(h *netlink.Handle) error {
		for _, name := range names {
			list, err := n.listAddresses(h, name)
			if err != nil {
				return err
			}
			for _, a := range list {
				out = append(out, prefixOf(a))
			}
		}
		return nil
	})
	return out, err
}

func (n *Node) listAddresses(h *netlink.Handle, name string) ([]netlink.Addr, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("finding %s of %s: %w", name, n.name, err)
	}
	list, err := h.AddrList(link, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("listing addresses of %s: %w", n.name, err)
	}
	out := list[:0]
	for _, a := range list {
		if !a.IP.IsLinkLocalUnicast() {
			out = append(out, a)
		}
	}
	return out, nil
}

func prefixOf(a netlink.Addr) netip.Prefix {
	ip, _ := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones)
}

// owns tells the node's own addresses from VIPs.
func (n *Node) owns(a netip.Addr) bool {
	return a == n.V4 || a == n.V6 || n.Second != nil && (a == n.Second.V4 || a == n.Second.V6)
}

// FlushVIPs deletes every address of the NIC but the node's own, as a network
// manager that knows only its own does, and returns what it deleted.
func (n *Node) FlushVIPs() ([]netip.Prefix, error) {
	return n.flush(func(a netip.Addr) bool { return !n.owns(a) })
}

// AddVIP binds an address to the NIC for good, where no announcer does.
func (n *Node) AddVIP(vip netip.Addr) error { return n.setUp(nic, netip.PrefixFrom(vip, vip.BitLen())) }

// DropVIP deletes one address of the NIC.
func (n *Node) DropVIP(vip netip.Addr) error {
	dropped, err := n.flush(func(a netip.Addr) bool { return a == vip })
	if err == nil && len(dropped) == 0 {
		err = fmt.Errorf("%s doesn't have %s", n.name, vip)
	}
	return err
}

// FlushOwn deletes the node's own addresses; their routes go with them. What
// RestoreOwn brings back stands behind whatever was there in between.
func (n *Node) FlushOwn() ([]netip.Prefix, error) { return n.flush(n.owns) }

func (n *Node) flush(which func(netip.Addr) bool) ([]netip.Prefix, error) {
	var out []netip.Prefix
	err := n.netlink(func(h *netlink.Handle) error {
		list, err := n.listAddresses(h, nic)
		if err != nil {
			return err
		}
		link, err := h.LinkByName(nic)
		if err != nil {
			return fmt.Errorf("finding %s of %s: %w", nic, n.name, err)
		}
		for _, a := range list {
			p := prefixOf(a)
			if !which(p.Addr()) {
				continue
			}
			// A secondary may have gone with its primary.
			if err := h.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("deleting %s of %s: %w", p, n.name, err)
			}
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

// RestoreOwn puts the node's own addresses and routes back.
func (c *Cluster) RestoreOwn(n *Node) error {
	number := nodeHost + n.index
	if err := n.setUp(nic, host4(SegmentV4, number), host6(SegmentV6, number)); err != nil {
		return err
	}
	if err := n.addRoutes(defaultRoutes(host4(SegmentV4, routerHost).Addr(), host6(SegmentV6, routerHost).Addr())...); err != nil {
		return err
	}
	return c.routeAround(n)
}

package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// Packets are what an interface has received and sent, by its own statistics.
type Packets struct{ Received, Sent uint64 }

// Sub is what has passed since an earlier count.
func (p Packets) Sub(earlier Packets) Packets {
	return Packets{Received: p.Received - earlier.Received, Sent: p.Sent - earlier.Sent}
}

// Packets counts those of the host's NIC on the segment.
func (h *Host) Packets() (Packets, error) { return h.packets(nic) }

// Index is the interface index of the host's NIC.
func (h *Host) Index() (int, error) {
	index := 0
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(nic)
		if err == nil {
			index = ifi.Index
		}
		return err
	})
	return index, err
}

// PodPackets counts those of the node's link to its pods: Sent are the ones that were forwarded to them.
func (n *Node) PodPackets() (Packets, error) { return n.packets(podsNIC) }

func (n *Netns) packets(name string) (Packets, error) {
	var p Packets
	err := n.netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		p = Packets{Received: link.Attrs().Statistics.RxPackets, Sent: link.Attrs().Statistics.TxPackets}
		return nil
	})
	if err != nil {
		return p, fmt.Errorf("counting packets of %s in %s: %w", name, n.name, err)
	}
	return p, nil
}

// PlainPackets has the client and all pods send packets as they are on a wire, for connections that are opened from now on. veths
// otherwise carry up to 64 KB as one packet from end to end, and the number of such says nothing.
func (c *Cluster) PlainPackets() error {
	ends := []*Netns{c.Client.Netns}
	for _, n := range c.Nodes {
		ends = append(ends, n.pods)
	}
	for _, ns := range ends {
		err := ns.netlink(func(h *netlink.Handle) error {
			link, err := h.LinkByName(nic)
			if err != nil {
				return err
			}
			return h.LinkSetGSOMaxSegs(link, 1)
		})
		if err != nil {
			return fmt.Errorf("ending segmentation offload in %s: %w", ns.name, err)
		}
	}
	return nil
}

package lab

import (
	"context"
	"fmt"
)

// DropUnknownARP makes the switch drop every ARP packet of the node that doesn't speak for the node's own address, as dynamic
// ARP inspection and the port security of hypervisors do with addresses nobody has told them of: announcements of VIPs, answers
// for them, and probes, whose sender is 0.0.0.0. What others send to the node passes. AllowARP and a power loss end it.
func (c *Cluster) DropUnknownARP(ctx context.Context, n *Node) error {
	err := nft(ctx, replaceTable(arpTable(n), fmt.Sprintf(`
	chain from-node {
		type filter hook ingress device %q priority 0; policy accept;
		arp saddr ip != %s drop
	}`, portName(n.name), n.V4)))
	if err != nil {
		return fmt.Errorf("filtering ARP of %s: %w", n.name, err)
	}
	return nil
}

// AllowARP ends a DropUnknownARP.
func (c *Cluster) AllowARP(ctx context.Context, n *Node) error {
	if err := nft(ctx, deleteTable(arpTable(n))); err != nil {
		return fmt.Errorf("filtering ARP of %s no longer: %w", n.name, err)
	}
	return nil
}

func arpTable(n *Node) string { return "netdev lab-arp-" + n.name }

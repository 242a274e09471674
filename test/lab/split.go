package lab

import (
	"context"
	"errors"
	"fmt"
)

const splitTable = "bridge lab-split"

// SplitSegment parts the segment in two, as the loss of the link between two switches does: the given machines on one side,
// all others on the other. Nobody loses carrier. Machines that join later are on the other side. Only one split is in force.
func (c *Cluster) SplitSegment(ctx context.Context, away ...*Netns) error {
	if len(away) == 0 {
		return errors.New("splitting the segment: nobody is to be away")
	}
	var ports []string
	for _, ns := range away {
		ports = append(ports, segmentPorts(ns.name)...)
	}
	err := nft(ctx, replaceTable(splitTable, fmt.Sprintf(`
	set away { type ifname; elements = { %s } }
	chain forward {
		type filter hook forward priority 0; policy accept;
		iifname @away oifname != @away drop
		iifname != @away oifname @away drop
	}`, quoted(ports))))
	if err != nil {
		return fmt.Errorf("splitting the segment: %w", err)
	}
	return nil
}

// HealSegment ends a split.
func (c *Cluster) HealSegment(ctx context.Context) error {
	if err := nft(ctx, deleteTable(splitTable)); err != nil {
		return fmt.Errorf("healing the segment: %w", err)
	}
	return nil
}

// segmentPorts are the names under which a machine may be plugged into the switch: directly, or behind an impairment.
func segmentPorts(host string) []string { return []string{portName(host), outsideTap(host)} }

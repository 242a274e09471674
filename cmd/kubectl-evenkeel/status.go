package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newStatus(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which node has what, and what holds moves back",
		Long: `Show which node has what, and what holds moves back.

MAY MOVE NOW and HELD VIPS are computed here by the controller's own rules and its default policy: flags of the
controller that change those defaults aren't known here. What the controller itself says of a pool is in BALANCED.`,
		Example: "  kubectl evenkeel status\n  kubectl evenkeel status -o wide   # with the names of the VIPs",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "wide" {
				return fmt.Errorf("-o: %q is neither empty nor wide", output)
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			s, err := o.look(cmd.Context(), c)
			if err != nil {
				return err
			}
			return o.printStatus(s, output == "wide")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "wide: with the names of the VIPs and the nodes' traffic.")
	return cmd
}

func (o *options) printStatus(s snapshot, wide bool) error {
	out := o.streams.Out
	nodes := newTable("Node", "VIPs", "Weight", "Standbys", "State", "+MB/s", "+Names")
	for _, r := range nodeRows(s) {
		addRow(nodes, r.name, len(r.vips), r.weight, r.standbys, r.state, fmt.Sprintf("%.1f", float64(r.bytes)/1e6), strings.Join(r.vips, ","))
	}
	if len(nodes.Rows) == 0 {
		if _, err := fmt.Fprintln(out, "No node has an announcer yet: is the DaemonSet evenkeel-announcer running?"); err != nil {
			return err
		}
	} else if err := printTable(out, nodes, wide); err != nil {
		return err
	}
	if len(s.pools) == 0 {
		_, err := fmt.Fprintln(out, "\nThere is no VIPPool yet: Services get no address.")
		return err
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	pools := newTable("Pool", "VIPs", "Mode", "Balanced", "Held VIPs", "May move now")
	for _, r := range poolRows(s) {
		addRow(pools, r.name, r.vips, string(r.mode), r.balanced, r.held, r.moves)
	}
	if err := printTable(out, pools, wide); err != nil {
		return err
	}
	return o.printOrders(s)
}

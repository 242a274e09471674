package main

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
)

func newMove(o *options) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "move VIP --to NODE",
		Short: "Move one VIP to a node",
		Long: `Move one VIP to a node. VIP is the name of a VIP object or one of its addresses.

It sets the annotation ` + placeholder.AnnotationMoveTo + ` on the VIP, which the controller takes up and removes. An event on
the Service says why the VIP stays where it is, where it can't be moved. Budget, windows and cooldown don't count: this is your decision.`,
		Example:           "  kubectl evenkeel move 192.0.2.10 --to worker-3\n  kubectl evenkeel move 192-0-2-10 --to worker-3",
		Args:              exactly("VIP", "kubectl evenkeel move 192.0.2.10 --to worker-3"),
		ValidArgsFunction: o.completeVIPs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return fmt.Errorf("--to is missing: to which node?")
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			s, err := o.look(cmd.Context(), c)
			if err != nil {
				return err
			}
			return o.move(cmd, c, s, args[0], to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "Node that it is to move to.")
	_ = cmd.RegisterFlagCompletionFunc("to", o.completeNodes) // fails only for a flag that doesn't exist
	return cmd
}

func (o *options) move(cmd *cobra.Command, c client.Client, s snapshot, name, to string) error {
	vip, err := findVIP(s.vips, name)
	if err != nil {
		return err
	}
	if vip.Status.Node == to {
		_, err := fmt.Fprintf(o.streams.Out, "vip/%s is on %s.\n", vip.Name, to)
		return err
	}
	if err := refuse(s, vip, to); err != nil {
		return err
	}
	if err := order(cmd.Context(), c, vip, "annotations", placeholder.AnnotationMoveTo, &to); err != nil {
		return explain("annotating VIP "+vip.Name, err)
	}
	from := vip.Status.Node
	if from == "" {
		from = "nowhere"
	}
	_, err = fmt.Fprintf(o.streams.Out, "vip/%s is to move from %s to %s; \"kubectl get vip %s\" shows when it is there.\n", vip.Name, from, to, vip.Name)
	return err
}

// findVIP finds a VIP by its name or one of its addresses, in whatever spelling.
func findVIP(vips []v1alpha1.VIP, name string) (*v1alpha1.VIP, error) {
	addr, err := netip.ParseAddr(name)
	for i := range vips {
		if vips[i].Name == name || err == nil && slices.Contains(ledger.Addresses(&vips[i]), addr) {
			return vips[i].DeepCopy(), nil
		}
	}
	return nil, fmt.Errorf("there is no VIP %s: kubectl get vips lists them", name)
}

// refuse says why a node can't have a VIP, as far as that can be seen from here.
func refuse(s snapshot, vip *v1alpha1.VIP, to string) error {
	// Whether the exclude label counts is the controller's flag.
	node, known := fleet.Of(s.vipNodes, s.nodes, fleet.Options{IgnoreExcludeLabel: true}, s.now).For(s.demand(vip))[to]
	switch {
	case !known:
		return fmt.Errorf("node %s has no announcer: kubectl get vipnodes lists the nodes that have", to)
	case node.Why == fleet.Evacuated:
		return fmt.Errorf("node %s is evacuated: \"kubectl evenkeel evacuate %s --undo\" first", to, to)
	case !node.Able:
		return fmt.Errorf("node %s can't announce %s: %s", to, vip.Name, node.Why)
	case node.Suspicion != "":
		return fmt.Errorf("node %s is suspect (%s): VIPs are kept off it until its announcer says that it is back", to, node.Suspicion)
	case node.Sick:
		return fmt.Errorf("node %s isn't healthy: it is not ready, or see condition %s of its VIPNode", to, v1alpha1.NodeDataPlaneHealthy)
	case node.Closed:
		return fmt.Errorf("node %s is cordoned or has a taint that the pool doesn't tolerate: \"kubectl uncordon %s\" first", to, to)
	}
	return nil
}

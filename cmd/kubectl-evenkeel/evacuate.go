package main

import (
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/fleet"
)

func newEvacuate(o *options) *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "evacuate NODE",
		Short: "Have all VIPs leave a node, and keep them off until that is undone",
		Long: `Have all VIPs leave a node, and keep them off until that is undone. Pods stay: kubectl drain is for these.

It sets the label ` + placeholder.LabelEvacuate + ` on the Node, which needs the right to patch nodes. VIPs that no other node can
have stay. After --undo none comes back at once: evening out brings them as its policy says.`,
		Example:           "  kubectl evenkeel evacuate worker-3\n  kubectl evenkeel evacuate worker-3 --undo",
		Args:              exactly("NODE", "kubectl evenkeel evacuate worker-3"),
		ValidArgsFunction: o.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := o.connect()
			if err != nil {
				return err
			}
			var node corev1.Node
			if err := c.Get(cmd.Context(), client.ObjectKey{Name: args[0]}, &node); apierrors.IsNotFound(err) {
				return fmt.Errorf("there is no node %s: kubectl get nodes lists them", args[0])
			} else if err != nil {
				return explain("reading node "+args[0], err)
			}
			if undo {
				return o.undoEvacuation(cmd, c, &node)
			}
			return o.evacuate(cmd, c, &node)
		},
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "Let VIPs be placed on the node again.")
	return cmd
}

func (o *options) evacuate(cmd *cobra.Command, c client.Client, node *corev1.Node) error {
	s, err := o.look(cmd.Context(), c)
	if err != nil {
		return err
	}
	leaving := 0
	for _, row := range nodeRows(s) {
		if row.name == node.Name {
			leaving = len(row.vips)
		}
	}
	elsewhere := 0
	for name, n := range fleet.Of(s.vipNodes, s.nodes, fleet.Options{IgnoreExcludeLabel: true}, s.now).For(fleet.Demand{}) {
		if name != node.Name && n.Able && !n.Sick && !n.Closed && n.Suspicion == "" {
			elsewhere++
		}
	}
	if _, already := node.Labels[placeholder.LabelEvacuate]; !already {
		yes := "true"
		if err := order(cmd.Context(), c, node, "labels", placeholder.LabelEvacuate, &yes); err != nil {
			return explain("labelling node "+node.Name, err)
		}
	}
	say := fmt.Sprintf("node/%s is evacuated: it has %s. None comes back before \"kubectl evenkeel evacuate %s --undo\"; \"kubectl evenkeel status\" shows how far it is.\n",
		node.Name, several(leaving, "VIP"), node.Name)
	if _, err := fmt.Fprint(o.streams.Out, say); err != nil || leaving == 0 || elsewhere > 0 {
		return err
	}
	_, err = fmt.Fprintln(o.streams.ErrOut, "warning: no other node is ready for them now, so that they stay until one is")
	return err
}

func (o *options) undoEvacuation(cmd *cobra.Command, c client.Client, node *corev1.Node) error {
	if _, there := node.Labels[placeholder.LabelEvacuate]; !there {
		_, err := fmt.Fprintf(o.streams.Out, "node/%s is not evacuated.\n", node.Name)
		return err
	}
	if err := order(cmd.Context(), c, node, "labels", placeholder.LabelEvacuate, nil); err != nil {
		return explain("labelling node "+node.Name, err)
	}
	_, err := fmt.Fprintf(o.streams.Out, "node/%s takes VIPs again.\n", node.Name)
	return err
}

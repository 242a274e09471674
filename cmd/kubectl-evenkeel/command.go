package main

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/version"
)

// options are what all commands share.
type options struct {
	streams genericiooptions.IOStreams
	clock   clock.PassiveClock
	// connect makes a client; it asks the API server nothing yet.
	connect func() (client.Client, error)

	namespace string
}

func newCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubectl-evenkeel",
		Short: "See where virtual IPs are, even them out, move them, evacuate nodes",
		Long: `See where Evenkeel's virtual IPs are and what holds moves back, even them out, move one, evacuate a node.

Orders are labels and annotations that the controller acts on, so each of them can be given with kubectl
label and kubectl annotate too: docs/rebalancing.md names them.`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl evenkeel"},
	}
	cmd.SetIn(o.streams.In)
	cmd.SetOut(o.streams.Out)
	cmd.SetErr(o.streams.ErrOut)
	cmd.PersistentFlags().StringVarP(&o.namespace, "namespace", "n", placeholder.DefaultNamespace, "Namespace of the placeholders, as the controller's flag says.")
	cmd.AddCommand(newStatus(o), newRebalance(o), newMove(o), newEvacuate(o))
	return cmd
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// exactly wants one argument and says how it is meant where there isn't one.
func exactly(what, example string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("one %s is wanted, %d are given: %s", what, len(args), example)
		}
		return nil
	}
}

func (o *options) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if cmd.Name() == "evacuate" && len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var nodes v1alpha1.VIPNodeList
	return complete(o, cmd, &nodes, func() []v1alpha1.VIPNode { return nodes.Items }, func(n v1alpha1.VIPNode) string { return n.Name })
}

func (o *options) completeVIPs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var vips v1alpha1.VIPList
	return complete(o, cmd, &vips, func() []v1alpha1.VIP { return vips.Items }, func(v v1alpha1.VIP) string {
		return v.Name + "\t" + v.Status.Services // what stands behind the tab is shown beside it
	})
}

func (o *options) completePools(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var pools v1alpha1.VIPPoolList
	return complete(o, cmd, &pools, func() []v1alpha1.VIPPool { return pools.Items }, func(p v1alpha1.VIPPool) string { return p.Name })
}

// complete lists objects for the shell, and nothing where the API server doesn't answer.
func complete[T any](o *options, cmd *cobra.Command, list client.ObjectList, items func() []T, name func(T) string) ([]string, cobra.ShellCompDirective) {
	c, err := o.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	if err := c.List(cmd.Context(), list); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, item := range items() {
		names = append(names, name(item))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

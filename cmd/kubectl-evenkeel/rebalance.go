package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

func newRebalance(o *options) *cobra.Command {
	var now, dryRun bool
	var nodes fleet.Options
	cmd := &cobra.Command{
		Use:   "rebalance --dry-run|--now [POOL...]",
		Short: "Show how VIPs would be evened out, or even them out now, whatever the pools' windows",
		Long: `Show how the VIPs of the named pools, or of all, would be evened out, or even them out now.

--dry-run plans as the controller would upon --now, by the default policy where pools leave something open, and changes nothing; it
says too what holds moves back as long as nobody asks.

--now sets the annotation ` + placeholder.AnnotationRebalanceNow + ` on the pools, which the controller follows for an hour at most. Windows,
mode Manual and the traffic limit are lifted; budget, cooldown, settling nodes, Services that say never, and mode Off are not.`,
		Example:           "  kubectl evenkeel rebalance --dry-run\n  kubectl evenkeel rebalance --now\n  kubectl evenkeel rebalance --now office",
		ValidArgsFunction: o.completePools,
		RunE: func(cmd *cobra.Command, args []string) error {
			if now == dryRun {
				return errors.New("say either --dry-run, to see the moves, or --now, to have them made")
			}
			c, err := o.connect()
			if err != nil {
				return err
			}
			s, err := o.look(cmd.Context(), c)
			if err != nil {
				return err
			}
			pools, err := choose(s.pools, args)
			if err != nil {
				return err
			}
			if dryRun {
				return o.printPlan(planFor(s, pools, nodes))
			}
			return o.rebalanceNow(cmd, c, s, pools)
		},
	}
	cmd.Flags().BoolVar(&now, "now", false, "Even out now.")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "Show the moves that would even out, and change nothing.")
	cmd.Flags().BoolVar(&nodes.IgnoreExcludeLabel, "ignore-exclude-label", false, "With --dry-run: as the controller's flag says.")
	return cmd
}

// choose returns the named pools, all where none is named.
func choose(pools []v1alpha1.VIPPool, names []string) ([]v1alpha1.VIPPool, error) {
	if len(pools) == 0 {
		return nil, errors.New("there is no VIPPool: kubectl explain vippool.spec says how to write one")
	}
	if len(names) == 0 {
		return pools, nil
	}
	var chosen []v1alpha1.VIPPool
	for _, name := range names {
		i := slices.IndexFunc(pools, func(pool v1alpha1.VIPPool) bool { return pool.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no VIPPool %s: kubectl get vippools lists them", name)
		}
		chosen = append(chosen, pools[i])
	}
	return chosen, nil
}

func (o *options) rebalanceNow(cmd *cobra.Command, c client.Client, s snapshot, pools []v1alpha1.VIPPool) error {
	asked := policy.Request(s.now)
	var errs []error
	for i := range pools {
		pool := pools[i].DeepCopy()
		p, _ := policy.Of(pool.Spec.Rebalance, policy.Default(), field.NewPath("spec", "rebalance"))
		if p.Mode == v1alpha1.RebalanceOff {
			errs = append(errs, fmt.Errorf("VIPPool %s: its mode is Off, which --now doesn't lift: set spec.rebalance.mode to Manual, and ask again", pool.Name))
			continue
		}
		if err := order(cmd.Context(), c, pool, "annotations", placeholder.AnnotationRebalanceNow, &asked); err != nil {
			errs = append(errs, explain("annotating VIPPool "+pool.Name, err))
			continue
		}
		situation := situationOf(pool, s)
		situation.Requested = true
		_, held := heldVIPs(pool.Name, p, situation, s)
		if _, err := fmt.Fprintf(o.streams.Out, "vippool/%s is evened out now. May move: %s. VIPs that stay: %s. \"kubectl evenkeel status\" shows how far it is.\n",
			pool.Name, movesNow(p, situation, s), held); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

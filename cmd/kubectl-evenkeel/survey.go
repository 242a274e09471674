package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalance/survey"
)

// planFor plans as the controller does, with its default policy, and shows the moves of the pools' VIPs.
func planFor(s snapshot, pools []v1alpha1.VIPPool, nodes fleet.Options) plan {
	able := map[string]time.Time{}
	for i := range s.nodes {
		for j := range s.vipNodes {
			if s.vipNodes[j].Name == s.nodes[i].Name {
				able[s.nodes[i].Name] = policy.AbleSince(&s.nodes[i], &s.vipNodes[j], time.Time{})
			}
		}
	}
	traffic, _ := s.rates()
	cluster := survey.Cluster{
		Now: s.now, Pods: s.pods, Nodes: fleet.Of(s.vipNodes, s.nodes, nodes, s.now),
		Able: func(node string) time.Time { return able[node] }, Traffic: traffic,
		Demand: func(vip *v1alpha1.VIP) (fleet.Demand, bool) { return s.demand(vip), true }, Never: s.never(), Defaults: policy.Default(),
	}
	for i := range s.vips {
		cluster.VIPs = append(cluster.VIPs, &s.vips[i])
	}
	for i := range s.pools {
		cluster.Pools = append(cluster.Pools, &s.pools[i])
	}
	out := survey.Of(cluster)
	planned := plan{before: weights(out.Before), after: weights(out.Before)}
	for _, move := range out.Moves {
		pool := ""
		if i := slices.IndexFunc(s.vips, func(vip v1alpha1.VIP) bool { return vip.Name == move.VIP }); i >= 0 {
			pool = s.vips[i].Spec.Pool
		}
		if slices.ContainsFunc(pools, func(p v1alpha1.VIPPool) bool { return p.Name == pool }) {
			planned.moves = append(planned.moves, plannedMove{vip: move.VIP, from: move.From, to: move.To, reason: string(move.Reason)})
			planned.after[move.From] -= move.Weight
			planned.after[move.To] += move.Weight
		}
	}
	said := map[string]bool{}
	for _, held := range out.Held {
		planned.held = append(planned.held, sentence(held, s.now))
		said[held.Node] = true
	}
	// A node that is too new to be moved to isn't part of the plan at all, which is worth saying.
	for _, node := range slices.Sorted(maps.Keys(able)) {
		if hold := cluster.Defaults.HoldsNode(able[node], s.now); hold != nil && !said[node] {
			planned.held = append(planned.held, sentence(survey.Held{Node: node, Hold: *hold}, s.now))
		}
	}
	return planned
}

func weights(d rebalance.Distribution) map[string]int64 {
	weights := map[string]int64{}
	for _, share := range d {
		weights[share.Node] = share.Load
	}
	return weights
}

// sentence says what holds moves back.
func sentence(held survey.Held, now time.Time) string {
	what := "Moves to node " + held.Node
	switch {
	case held.VIP != "":
		what = "VIP " + held.VIP
	case held.Pool != "":
		what = "Moves of pool " + held.Pool
	}
	return fmt.Sprintf("%s: held by %s%s: %s.", what, held.Reason, until(held.Until, now), held.Message)
}

package main

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalance/survey"
)

// planFor plans as the controller would, with its default policy, were evening out the pools asked for now; and it shows what holds moves
// back as long as nobody asks.
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
	unasked := survey.Of(cluster)
	cluster.Pools = asked(cluster.Pools, pools, s.now)
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
	for _, held := range append(unasked.Held, out.Held...) {
		if text := sentence(held, s.now); !slices.Contains(planned.held, text) {
			planned.held = append(planned.held, text)
		}
	}
	return planned
}

// asked are all pools, of which the chosen ones are asked to even out now.
func asked(all []*v1alpha1.VIPPool, chosen []v1alpha1.VIPPool, now time.Time) []*v1alpha1.VIPPool {
	var pools []*v1alpha1.VIPPool
	for _, pool := range all {
		if slices.ContainsFunc(chosen, func(p v1alpha1.VIPPool) bool { return p.Name == pool.Name }) {
			pool = pool.DeepCopy()
			metav1.SetMetaDataAnnotation(&pool.ObjectMeta, placeholder.AnnotationRebalanceNow, policy.Request(now))
			if pool.Status.Rebalance != nil {
				pool.Status.Rebalance.HandledRequest = ""
			}
		}
		pools = append(pools, pool)
	}
	return pools
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

package vipload

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	fwk "k8s.io/kube-scheduler/framework"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

const preScoreStateKey fwk.StateKey = "PreScore" + Name

// preScoreState holds the rank of each feasible node: 0 for the least loaded. It is not changed after PreScore, as Score reads
// it without a lock.
type preScoreState struct {
	ranks map[string]int64
}

// Clone returns the state itself, as nothing changes it.
func (s *preScoreState) Clone() fwk.StateData { return s }

// PreScore ranks the feasible nodes by what each would carry with the VIP. The cycle's snapshot holds every placeholder that is
// bound or being bound, as cycles run one after the other and each assumes its pod before the next begins: the count is exact.
func (pl *VIPLoad) PreScore(_ context.Context, cycle fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	if !placeholder.Is(pod) {
		return fwk.NewStatus(fwk.Skip)
	}
	measure, figures := pl.measure, []load.Figures(nil)
	if placeholder.RoleOf(pod) == placeholder.Standby {
		filtered, err := readPreFilterState(cycle)
		if err != nil {
			return fwk.AsStatus(err)
		}
		measure, figures = measure.Additive(), pl.afterLoss(pod, filtered, nodes)
	} else {
		figures = pl.withVIP(pod, nodes, !cycle.IsPodGroupSchedulingCycle())
	}
	state := &preScoreState{ranks: make(map[string]int64, len(nodes))}
	for i, rank := range measure.Ranks(figures) {
		state.ranks[nodes[i].Node().Name] = rank
	}
	cycle.Write(preScoreStateKey, state)
	return nil
}

// withVIP is what each node would amount to with an active placeholder.
func (pl *VIPLoad) withVIP(pod *corev1.Pod, nodes []fwk.NodeInfo, remember bool) []load.Figures {
	counts := make([]load.Node, len(nodes))
	var actives int64
	for i, node := range nodes {
		counts[i] = pl.on(node, remember)
		actives += counts[i].Actives
	}
	reading := pl.meter.Read(pl.clock.Now(), actives)
	weight, rate := share(pod, reading)
	figures := make([]load.Figures, len(nodes))
	for i, node := range nodes {
		figures[i] = reading.Figures(node.Node().Name, counts[i]).With(weight, rate)
		figures[i].Siblings = siblings(pod, node)
	}
	return figures
}

// afterLoss is what each node would amount to after the loss of the active's node, if the standby were there. Nodes that come out
// equal differ by how many standbys of that node's VIPs they have already, so that each node is stood by for by all others.
func (pl *VIPLoad) afterLoss(pod *corev1.Pod, filtered *preFilterState, nodes []fwk.NodeInfo) []load.Figures {
	var actives int64
	for _, node := range filtered.counts {
		actives += node.Actives
	}
	reading := pl.meter.Read(pl.clock.Now(), actives)
	weight, rate := share(pod, reading)
	after := reading.AfterLoss(filtered.active, filtered.counts, filtered.after)
	figures := make([]load.Figures, len(nodes))
	for i, node := range nodes {
		figures[i] = after[node.Node().Name].With(weight, rate)
	}
	return figures
}

// share is what a placeholder's VIP adds to the load of a node.
func share(pod *corev1.Pod, reading load.Reading) (weight, bytesPerSecond int64) {
	weight, _ = placeholder.Weight(pod)
	return weight, reading.VIP(pod.Labels[placeholder.LabelVIP], pod.CreationTimestamp.Unix())
}

// on says what is on a node. Its capacity isn't remembered with the rest, as it may come from the VIPNode.
func (pl *VIPLoad) on(info fwk.NodeInfo, remember bool) load.Node {
	counted, node := pl.tally.of(info, remember), info.Node()
	if _, ok := node.Annotations[placeholder.AnnotationCapacity]; ok {
		facts, _ := pl.nodes.get(node.Name)
		counted.Capacity, _ = placeholder.Capacity(node, facts.SpeedMbps) // the controller reports the mistake
	}
	return counted
}

// Score returns the node's rank; NormalizeScore turns it round.
func (pl *VIPLoad) Score(_ context.Context, cycle fwk.CycleState, _ *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	data, err := cycle.Read(preScoreStateKey)
	if err != nil {
		return 0, fwk.AsStatus(fmt.Errorf("reading %q from the cycle state: %w", preScoreStateKey, err))
	}
	state, ok := data.(*preScoreState)
	if !ok {
		return 0, fwk.AsStatus(fmt.Errorf("reading %q from the cycle state: it holds a %T", preScoreStateKey, data))
	}
	return state.ranks[nodeInfo.Node().Name], nil
}

// ScoreExtensions returns the plugin itself.
func (pl *VIPLoad) ScoreExtensions() fwk.ScoreExtensions { return pl }

// NormalizeScore gives MaxScore to exactly one node.
func (pl *VIPLoad) NormalizeScore(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	normalize(pod.Labels[placeholder.LabelVIP], scores)
	return nil
}

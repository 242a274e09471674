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

// preScoreState holds the load of each feasible node. It is not changed after PreScore, as Score reads it without a lock.
type preScoreState struct {
	loads map[string]int64
}

// Clone returns the state itself, as nothing changes it.
func (s *preScoreState) Clone() fwk.StateData { return s }

// PreScore counts the load of the feasible nodes. The cycle's snapshot holds every placeholder that is bound or being
// bound, as cycles run one after the other and each assumes its pod before the next begins: the count is exact.
func (pl *VIPLoad) PreScore(_ context.Context, cycle fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) *fwk.Status {
	if !placeholder.Is(pod) {
		return fwk.NewStatus(fwk.Skip)
	}
	filtered, err := readPreFilterState(cycle)
	if err != nil {
		return fwk.AsStatus(err)
	}
	state := &preScoreState{loads: make(map[string]int64, len(nodes))}
	if filtered.active == "" {
		for _, node := range nodes {
			state.loads[node.Node().Name] = pl.tally.of(node, filtered.remember).Load
		}
	} else if err := pl.afterLoss(filtered, nodes, state.loads); err != nil {
		return fwk.AsStatus(err)
	}
	cycle.Write(preScoreStateKey, state)
	return nil
}

// shareBits leave room below the load for the number of standbys that two nodes share.
const shareBits = 20

// afterLoss scores the nodes for a standby: by what they would carry after the loss of the active's node, then by how many
// standbys of that node they have already, so that each node is stood by for by all others. The active's node is not among the
// feasible ones, so that the whole snapshot is asked.
func (pl *VIPLoad) afterLoss(filtered *preFilterState, nodes []fwk.NodeInfo, loads map[string]int64) error {
	all, err := pl.snapshot.NodeInfos().List()
	if err != nil {
		return fmt.Errorf("listing the nodes of the snapshot: %w", err)
	}
	counts := make(map[string]load.Node, len(all))
	for _, node := range all {
		counts[node.Node().Name] = pl.tally.of(node, filtered.remember)
	}
	after := load.AfterLoss(filtered.active, counts)
	for _, node := range nodes {
		a := after[node.Node().Name]
		loads[node.Node().Name] = a.Load<<shareBits + min(a.Shared, 1<<shareBits-1)
	}
	return nil
}

// Score returns the node's load; NormalizeScore turns it round.
func (pl *VIPLoad) Score(_ context.Context, cycle fwk.CycleState, _ *corev1.Pod, nodeInfo fwk.NodeInfo) (int64, *fwk.Status) {
	data, err := cycle.Read(preScoreStateKey)
	if err != nil {
		return 0, fwk.AsStatus(fmt.Errorf("reading %q from the cycle state: %w", preScoreStateKey, err))
	}
	state, ok := data.(*preScoreState)
	if !ok {
		return 0, fwk.AsStatus(fmt.Errorf("reading %q from the cycle state: it holds a %T", preScoreStateKey, data))
	}
	return state.loads[nodeInfo.Node().Name], nil
}

// ScoreExtensions returns the plugin itself.
func (pl *VIPLoad) ScoreExtensions() fwk.ScoreExtensions { return pl }

// NormalizeScore gives MaxScore to exactly one node.
func (pl *VIPLoad) NormalizeScore(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, scores fwk.NodeScoreList) *fwk.Status {
	normalize(pod.Labels[placeholder.LabelVIP], scores)
	return nil
}

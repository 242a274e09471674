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
	state := &preScoreState{loads: make(map[string]int64, len(nodes))}
	if placeholder.RoleOf(pod) == placeholder.Standby {
		filtered, err := readPreFilterState(cycle)
		if err != nil {
			return fwk.AsStatus(err)
		}
		for _, node := range nodes {
			state.loads[node.Node().Name] = afterLoss(filtered.after[node.Node().Name])
		}
	} else {
		remember := !cycle.IsPodGroupSchedulingCycle()
		for _, node := range nodes {
			state.loads[node.Node().Name] = crowded(pod, node, pl.tally.of(node, remember).Load)
		}
	}
	cycle.Write(preScoreStateKey, state)
	return nil
}

// shareBits leave room below the load for the number of standbys that two nodes share; 2^56 is the most that normalize takes.
const shareBits = 20

// afterLoss is what a node counts for a standby: what it would carry after the loss of the active's node, then how many standbys
// of that node's VIPs it has already, so that each node is stood by for by all others.
func afterLoss(a load.After) int64 { return a.Load<<shareBits + min(a.Shared, 1<<shareBits-1) }

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

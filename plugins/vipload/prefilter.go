package vipload

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	fwk "k8s.io/kube-scheduler/framework"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

const preFilterStateKey fwk.StateKey = "PreFilter" + Name

// errLocalWithoutService: only a Service has endpoints to look for.
var errLocalWithoutService = errors.New("annotation " + placeholder.AnnotationPolicy + ": Local needs annotation " + placeholder.AnnotationService)

// preFilterState is the pod read once per scheduling cycle. It is not changed after PreFilter.
type preFilterState struct {
	placeholder.Placeholder
	// For a standby: the node of its active, what is on each node, and what each takes over when the active's is lost.
	active   string
	counts   map[string]load.Node
	after    map[string]load.After
	local    endpoints.Local // with traffic policy Local: the nodes that serve the Service
	remember bool            // the tally's memo may be used in this cycle
}

// Clone returns the state itself, as nothing changes it.
func (s *preFilterState) Clone() fwk.StateData { return s }

// PreFilter reads the placeholder and looks up what is the same for all nodes. Pods that are no placeholders skip Filter.
func (pl *VIPLoad) PreFilter(_ context.Context, cycle fwk.CycleState, pod *corev1.Pod, nodes []fwk.NodeInfo) (*fwk.PreFilterResult, *fwk.Status) {
	if !placeholder.Is(pod) {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	p, err := placeholder.Parse(pod)
	if err == nil && p.Local && p.Service == (types.NamespacedName{}) {
		err = errLocalWithoutService
	}
	if err != nil {
		return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("the placeholder can't be read: %v", err))
	}
	for _, addr := range p.Addresses {
		used, err := reachesAPIServer(pl.endpoints, addr)
		if err != nil {
			return nil, fwk.AsStatus(fmt.Errorf("looking for endpoints of the API server: %w", err))
		}
		if used {
			return nil, fwk.NewStatus(fwk.UnschedulableAndUnresolvable, fmt.Sprintf("%s is where this cluster's API server is reached: announced from a node it would cut the cluster off", addr))
		}
	}
	state := &preFilterState{Placeholder: p, remember: !cycle.IsPodGroupSchedulingCycle()}
	if p.Local {
		if state.local, err = servedBy(pl.endpoints, p.Service); err != nil {
			return nil, fwk.AsStatus(fmt.Errorf("looking for endpoints of %s: %w", p.Service, err))
		}
	}
	if state.remember { // else nodes may be only a part of the cluster
		pl.tally.prune(nodes)
	}
	if p.Role == placeholder.Standby {
		state.active, state.counts = pl.count(p.VIP, nodes, state.remember)
		if state.active == "" {
			return nil, noActive.status()
		}
		state.after = load.AfterLoss(state.active, state.counts)
	}
	cycle.Write(preFilterStateKey, state)
	return nil, nil
}

// count counts what is on all nodes and finds the one of a VIP's active placeholder. The cycle's snapshot is asked, not an
// informer: it also has what is only assumed to be bound. Of two actives, of which one is about to go, the one that took the
// VIP last is asked by its term.
func (pl *VIPLoad) count(vip string, nodes []fwk.NodeInfo, remember bool) (active string, counts map[string]load.Node) {
	counts = make(map[string]load.Node, len(nodes))
	var term int64 = -1
	for _, node := range nodes {
		name := node.Node().Name
		counts[name] = pl.on(node, remember)
		if held, ok := counts[name].VIPs[vip]; ok && !held.Standby && held.Term > term {
			active, term = name, held.Term
		}
	}
	return active, counts
}

// PreFilterExtensions returns nil: the state holds nothing that depends on pods.
func (pl *VIPLoad) PreFilterExtensions() fwk.PreFilterExtensions { return nil }

func readPreFilterState(cycle fwk.CycleState) (*preFilterState, error) {
	data, err := cycle.Read(preFilterStateKey)
	if err != nil {
		return nil, fmt.Errorf("reading %q from the cycle state: %w", preFilterStateKey, err)
	}
	state, ok := data.(*preFilterState)
	if !ok {
		return nil, fmt.Errorf("reading %q from the cycle state: it holds a %T", preFilterStateKey, data)
	}
	return state, nil
}

package standby

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
)

const (
	// atOnce is how many standbys are on the move together: each is one more placeholder for a moment.
	atOnce = 8
	// settle is how long changes are collected before a plan: a move is several of them.
	settle = 200 * time.Millisecond
	// stuckAfter is how long a standby that is to leave may be waited for; then it stays, and its VIP is left alone for longer.
	stuckAfter = 30 * time.Second
	restAfter  = 5 * time.Minute
)

// Spreader plans and begins moves of standbys while this process leads. Poke tells it that something has changed.
type Spreader struct {
	// Client reads from a cache.
	Client    client.Client
	Clock     clock.Clock
	Namespace string
	Nodes     *fleet.Book
	// Measure is the scheduler's; Meter what was measured for it, nil where nothing is.
	Measure load.Measure
	Meter   *load.Meter
	// Demand says what a VIP asks of nodes; false: it is not known.
	Demand func(ctx context.Context, vip string) (fleet.Demand, bool)

	poked chan struct{}
	// leaving is since when pods have been about to leave, resting until when VIPs are left alone. Both are Start's.
	leaving map[types.UID]time.Time
	resting map[string]time.Time
}

var (
	_ manager.Runnable               = (*Spreader)(nil)
	_ manager.LeaderElectionRunnable = (*Spreader)(nil)
)

// New makes a Spreader of its exported fields.
func New(s Spreader) *Spreader {
	s.poked, s.leaving, s.resting = make(chan struct{}, 1), map[types.UID]time.Time{}, map[string]time.Time{}
	return &s
}

// NeedLeaderElection makes Start wait until this process leads.
func (s *Spreader) NeedLeaderElection() bool { return true }

// Poke says that placeholders or nodes have changed. It doesn't block.
func (s *Spreader) Poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// Start plans after changes until ctx ends.
func (s *Spreader) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.poked:
		case <-s.Clock.After(stuckAfter): // something may be stuck, which no change tells
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Clock.After(settle):
		}
		if err := s.turn(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Spreading standbys will be tried again")
		}
	}
}

// turn makes one plan and marks the standbys that are to leave.
func (s *Spreader) turn(ctx context.Context) error {
	var pods corev1.PodList
	if err := s.Client.List(ctx, &pods, client.InNamespace(s.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("listing placeholders: %w", err)
	}
	now := s.Clock.Now()
	nodes := s.Nodes.Fleet(now)
	view := Look(pods.Items)
	if err := s.unstick(ctx, view, now); err != nil {
		return err
	}
	if _, hold := nodes.Hold(); hold {
		return nil
	}
	allowed := map[string]map[string]failover.Node{}
	fits := func(vip string) map[string]failover.Node {
		found, ok := allowed[vip]
		if !ok {
			if demand, known := s.Demand(ctx, vip); known {
				found = nodes.For(demand)
			}
			allowed[vip] = found
		}
		return found
	}
	room := newRoom(view, nodes.Limit)
	state := State{
		Nodes:   map[string]load.Node{},
		Measure: s.Measure,
		Most:    atOnce - len(s.leaving),
		Movable: func(vip string) bool {
			return view.Settled(vip) && !now.Before(s.resting[vip])
		},
		Allowed: func(vip, node string) bool {
			n := fits(vip)[node]
			return n.Able && !n.Sick && !n.Closed && n.Suspicion == "" && room.left(vip, node)
		},
	}
	// Nodes that can take nothing are no place to even out to; what stands by there is others' business.
	var actives int64
	for name, node := range nodes.For(fleet.Demand{}) {
		if !node.Sick && !node.Closed && node.Suspicion == "" {
			on := view.nodes[name]
			on.Capacity = nodes.Capacity(name)
			state.Nodes[name] = on
			actives += on.Actives
		}
	}
	state.Reading = s.Meter.Read(now, actives)
	for _, move := range Plan(state) {
		pod := view.standby(move)
		if pod == nil {
			continue
		}
		klog.FromContext(ctx).Info("A standby is to stand by elsewhere, so that a loss comes out evenly", "vip", move.VIP, "pod", klog.KObj(pod), "node", move.From)
		if err := s.mark(ctx, pod, true); err != nil {
			return err
		}
		s.leaving[pod.UID] = now
	}
	return nil
}

// unstick forgets what has left, and gives up what has been about to leave for too long.
func (s *Spreader) unstick(ctx context.Context, view View, now time.Time) error {
	present := map[types.UID]bool{}
	for _, pod := range view.leaving {
		present[pod.UID] = true
		since, ok := s.leaving[pod.UID]
		if !ok { // marked by an earlier leader
			s.leaving[pod.UID] = now
			continue
		}
		if now.Sub(since) < stuckAfter {
			continue
		}
		vip := pod.Labels[placeholder.LabelVIP]
		klog.FromContext(ctx).Info("A standby that was to stand by elsewhere stays, as no other came on guard in its stead", "vip", vip, "pod", klog.KObj(pod))
		s.resting[vip] = now.Add(restAfter)
		if err := s.mark(ctx, pod, false); err != nil {
			return err
		}
		present[pod.UID] = false
	}
	for uid, since := range s.leaving {
		if !present[uid] && now.Sub(since) > settle { // a mark that no watch has shown yet is younger
			delete(s.leaving, uid)
		}
	}
	for vip, until := range s.resting {
		if !now.Before(until) {
			delete(s.resting, vip)
		}
	}
	return nil
}

// mark says on a standby whether it is to leave. A pod that has changed since it was looked at is left to the next turn.
func (s *Spreader) mark(ctx context.Context, pod *corev1.Pod, leaving bool) error {
	var value any
	if leaving {
		value = "true"
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": pod.ResourceVersion, "annotations": map[string]any{placeholder.AnnotationLeaving: value},
	}})
	if err != nil {
		return fmt.Errorf("writing a patch for placeholder %s: %w", pod.Name, err)
	}
	if err := s.Client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, data)); err != nil {
		return fmt.Errorf("marking placeholder %s: %w", pod.Name, err)
	}
	return nil
}

package rebalancer

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalance/survey"
	"evenkeel.io/evenkeel/controller/serving"
)

// turn makes one survey and asks for the moves that may begin. It returns after how long to look again without a change.
func (r *Rebalancer) turn(ctx context.Context) (time.Duration, error) {
	now := r.Clock.Now()
	r.ended(ctx, now)
	pools, outlook, err := r.survey(ctx, now)
	if err != nil {
		return 0, err
	}
	wait := r.pause(now)
	if wait > 0 {
		outlook.Begin = nil
	}
	r.tell(outlook)
	for i := range pools {
		if err := r.report(ctx, &pools[i], outlook, now); err != nil {
			return 0, err
		}
	}
	for _, move := range outlook.Begin {
		if err := r.ask(ctx, pools, move, now); err != nil {
			return 0, err
		}
	}
	again := lookAgain
	if !outlook.Again.IsZero() {
		again = min(again, max(outlook.Again.Sub(now), 0)+time.Millisecond)
	}
	if len(outlook.Moves) > 0 && wait > 0 {
		again = min(again, wait)
	}
	return again, nil
}

// pause is for how much longer nothing begins.
func (r *Rebalancer) pause(now time.Time) time.Duration {
	until := r.changed.Add(calm)
	if r.resting.After(until) {
		until = r.resting
	}
	return max(0, until.Sub(now))
}

func (r *Rebalancer) survey(ctx context.Context, now time.Time) ([]v1alpha1.VIPPool, survey.Outlook, error) {
	var pools v1alpha1.VIPPoolList
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pools); err != nil {
		return nil, survey.Outlook{}, fmt.Errorf("listing VIPPools: %w", err)
	}
	if err := r.Client.List(ctx, &pods, client.InNamespace(r.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, survey.Outlook{}, fmt.Errorf("listing placeholders: %w", err)
	}
	nodes, vips := r.Nodes.Fleet(now), r.Ledger.VIPs()
	r.follow(nodes, vips, now)
	cluster := survey.Cluster{
		Now: now, VIPs: vips, Pods: pods.Items, Nodes: nodes, Defaults: r.Defaults,
		Able: func(name string) time.Time {
			node, vipNode := nodes.Objects(name)
			return policy.AbleSince(node, vipNode, r.able[name])
		},
		Demand: func(vip *v1alpha1.VIP) (fleet.Demand, bool) { return r.Demand(ctx, vip.Name) },
		Never:  func(vip *v1alpha1.VIP) bool { return r.never(ctx, vip) },
	}
	for i := range pools.Items {
		cluster.Pools = append(cluster.Pools, &pools.Items[i])
	}
	return pools.Items, survey.Of(cluster), nil
}

// shape is what moves depend on: where VIPs are and which nodes may take them.
type shape struct {
	vips  map[string]string
	nodes map[string]bool
}

// follow notes when the cluster changed, but for what we asked for ourselves, and since when nodes have been able.
func (r *Rebalancer) follow(nodes fleet.Fleet, vips []*v1alpha1.VIP, now time.Time) {
	next := shape{vips: map[string]string{}, nodes: map[string]bool{}}
	for _, vip := range vips {
		at := vip.Status.Node
		if move, ours := r.asked[vip.Name]; ours && at == move.To || vip.Spec.Move != nil { // on its way, or there by our doing
			at = r.last.vips[vip.Name]
		}
		next.vips[vip.Name] = at
	}
	for name, n := range nodes.For(fleet.Demand{}) {
		able := n.Able && !n.Sick && !n.Closed && n.Suspicion == ""
		next.nodes[name] = able
		if before, known := r.last.nodes[name]; able && known && !before {
			r.able[name] = now
		}
	}
	if !maps.Equal(next.vips, r.last.vips) || !maps.Equal(next.nodes, r.last.nodes) {
		r.changed = now
	}
	r.last = next
}

// ask records a move in its pool's status and then asks for it. Who dies in between has spent a move of the budget for nothing.
func (r *Rebalancer) ask(ctx context.Context, pools []v1alpha1.VIPPool, move rebalance.Move, now time.Time) error {
	vip := r.Ledger.VIP(move.VIP)
	if vip == nil || vip.Spec.Move != nil {
		return nil // it has changed since the survey
	}
	for i := range pools {
		pool := &pools[i]
		if pool.Name != vip.Spec.Pool {
			continue
		}
		next := pool.DeepCopy()
		if next.Status.Rebalance == nil {
			next.Status.Rebalance = &v1alpha1.RebalanceStatus{}
		}
		next.Status.Rebalance.Moves = policy.Record(next.Status.Rebalance.Moves, vip.Name, now)
		if err := r.patchStatus(ctx, pool, next); err != nil {
			return ignoreChanged(err) // without a record no move
		}
		next.DeepCopyInto(pool)
	}
	changed := vip.DeepCopy()
	changed.Spec.Move = &v1alpha1.MoveRequest{To: move.To, Reason: string(move.Reason), RequestedAt: metav1.NewTime(now)}
	if err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{})); err != nil {
		return ignoreChanged(fmt.Errorf("asking for the move of VIP %s to node %s: %w", vip.Name, move.To, err))
	}
	r.Ledger.ObserveVIP(changed)
	r.asked[vip.Name] = *changed.Spec.Move
	klog.FromContext(ctx).Info("Evening out", "vip", vip.Name, "from", move.From, "to", move.To, "reason", move.Reason, "swap", move.Swap)
	return nil
}

// ended looks after the moves that were asked for: one that came to nothing stops the plan for a while.
func (r *Rebalancer) ended(ctx context.Context, now time.Time) {
	for name, move := range r.asked {
		vip := r.Ledger.VIP(name)
		switch {
		case vip == nil:
			delete(r.asked, name)
		case vip.Spec.Move != nil && vip.Spec.Move.To == move.To:
			// it is under way
		case vip.Status.Node == move.To:
			if r.last.vips != nil {
				r.last.vips[name] = move.To
			}
			delete(r.asked, name)
		default:
			r.resting = now.Add(restAfter)
			klog.FromContext(ctx).Info("A move came to nothing, so evening out rests", "vip", name, "node", move.To, "for", restAfter)
			delete(r.asked, name)
		}
	}
}

// never says whether one of a VIP's Services keeps it where it is.
func (r *Rebalancer) never(ctx context.Context, vip *v1alpha1.VIP) bool {
	for _, ref := range vip.Spec.Services {
		var service corev1.Service
		if err := r.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &service); err != nil {
			continue // released in a moment
		}
		never, err := policy.NeverRebalanced(service.Annotations)
		if err != nil {
			r.Teller.TellOnce(&service, "rebalance", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Rebalance", Note: err.Error()})
		} else {
			r.Teller.Settle(service.UID, "rebalance")
		}
		if never {
			return true
		}
	}
	return false
}

// ignoreChanged takes a conflict for no error: the watch brings what was written in between, and with it another turn.
func ignoreChanged(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

package rebalancer

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalance/survey"
	"evenkeel.io/evenkeel/controller/serving"
)

// Turn makes one survey and asks for the moves that may begin. It returns after how long to look again without a change. Start calls it;
// who calls it without Start does so from one goroutine.
func (r *Rebalancer) Turn(ctx context.Context) (time.Duration, error) {
	now := r.Clock.Now()
	r.ended(ctx, now)
	pools, outlook, err := r.survey(ctx, now)
	if err != nil {
		return 0, err
	}
	r.tell(outlook)
	again := lookAgain
	if !outlook.Again.IsZero() {
		again = min(again, max(outlook.Again.Sub(now), 0)+time.Millisecond)
	}
	if wait := r.unrest(now); wait > 0 { // what is found now is soon out of date
		return min(again, wait), nil
	}
	for i := range pools {
		if err := r.report(ctx, &pools[i], outlook, now); err != nil {
			return 0, err
		}
	}
	if rest := r.failed.until.Sub(now); rest > 0 {
		return min(again, rest), nil
	}
	for _, move := range outlook.Begin {
		if err := r.ask(ctx, pools, move, now); err != nil {
			return 0, err
		}
	}
	return again, nil
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
		Now: now, VIPs: vips, Pods: pods.Items, Nodes: nodes, Defaults: r.Defaults, Traffic: r.traffic.bytes,
		Able: func(name string) time.Time {
			node, vipNode := nodes.Objects(name)
			return policy.AbleSince(node, vipNode, r.able[name])
		},
		Demand: r.demands(ctx),
		Never:  func(vip *v1alpha1.VIP) bool { return r.never(ctx, vip) },
	}
	for i := range pools.Items {
		cluster.Pools = append(cluster.Pools, &pools.Items[i])
	}
	outlook := survey.Of(cluster)
	if len(outlook.Moves) > 0 && r.measure(ctx, now) {
		cluster.Traffic = r.traffic.bytes
		outlook = survey.Of(cluster)
	}
	return pools.Items, outlook, nil
}

// demands returns what VIPs ask of nodes, and asks for that once for each pool: thousands of VIPs differ in their addresses alone.
func (r *Rebalancer) demands(ctx context.Context) func(*v1alpha1.VIP) (fleet.Demand, bool) {
	known := map[string]fleet.Demand{}
	return func(vip *v1alpha1.VIP) (fleet.Demand, bool) {
		demand, ok := known[vip.Spec.Pool]
		if !ok {
			if demand, ok = r.Demand(ctx, vip.Name); !ok {
				return fleet.Demand{}, false
			}
			known[vip.Spec.Pool] = demand
		}
		demand.Addresses = ledger.Addresses(vip)
		return demand, true
	}
}

// ask records a move in its pool's status and then asks for it. Who dies in between has spent a move of the budget for nothing.
func (r *Rebalancer) ask(ctx context.Context, pools []v1alpha1.VIPPool, move rebalance.Move, now time.Time) error {
	if !r.movable(move) {
		return nil // it has changed since the survey
	}
	name := r.Ledger.VIP(move.VIP).Spec.Pool
	for i := range pools {
		if pools[i].Name != name {
			continue
		}
		next := pools[i].DeepCopy()
		if next.Status.Rebalance == nil {
			next.Status.Rebalance = &v1alpha1.RebalanceStatus{}
		}
		next.Status.Rebalance.Moves = policy.Record(next.Status.Rebalance.Moves, move.VIP, now)
		if err := r.patchStatus(ctx, &pools[i], next); err != nil {
			return ignoreChanged(err) // without a record no move: the watch brings what was written in between, and another turn
		}
		next.DeepCopyInto(&pools[i])
	}
	if !r.movable(move) {
		return nil
	}
	vip := r.Ledger.VIP(move.VIP)
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

// movable says whether a VIP is still where a planned move takes it from, and nobody else moves it.
func (r *Rebalancer) movable(move rebalance.Move) bool {
	vip := r.Ledger.VIP(move.VIP)
	return vip != nil && vip.DeletionTimestamp == nil && vip.Spec.ReleasedAt == nil && vip.Spec.Move == nil
}

// ended looks after the moves that were asked for: one that came to nothing stops the plan for a while.
func (r *Rebalancer) ended(ctx context.Context, now time.Time) {
	for name, move := range r.asked {
		vip := r.Ledger.VIP(name)
		switch {
		case vip == nil:
		case vip.Spec.Move != nil && vip.Spec.Move.To == move.To && vip.Spec.Move.Reason == move.Reason:
			continue // it is under way
		case vip.Spec.Move != nil: // somebody has thought otherwise
		case vip.Status.Node == move.To:
			r.last.vips[name] = move.To
		default:
			r.failed = failure{vip: name, node: move.To, until: now.Add(restAfter)}
			klog.FromContext(ctx).Info("A move came to nothing, so evening out rests", "vip", name, "node", move.To, "for", restAfter)
		}
		delete(r.asked, name)
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

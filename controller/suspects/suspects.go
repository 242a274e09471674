// Package suspects keeps VIPs off nodes that fell silent or whose announcer doesn't report, until these say that they are
// back, and has nodes watch each other.
package suspects

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/serving"
)

// Reconciler writes the spec of VIPNodes: suspicions and neighbours. It is safe for concurrent use.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Teller *serving.Teller

	mu sync.Mutex
	// accused are the neighbours that each node said are silent, when it was last looked at: each accusation counts once.
	accused map[string][]string
	// rewired is since when each node has been told to watch another NIC of a neighbour.
	rewired map[watching]time.Time
}

// watching is one node that watches another.
type watching struct{ by, node string }

// toldWithin is how soon an announcer that works knows another neighbour and has listened for it: it reads its VIPNode once a minute.
const toldWithin = 90 * time.Second

// messages say what a suspicion means, for people.
var messages = map[string]string{
	failover.FellSilent: "It fell silent on the wire. Nothing is placed there until its announcer has heard another machine again and says so",
	failover.NoReport:   "Its announcer did not report on a placeholder. Nothing is placed there until the announcer says that it is back: is it running, and does it reach the API server?",
}

// Mark makes a node suspect. A node that is suspect for the same reason stays so; a silent node that was suspect for another
// one gets a new suspicion, which it has to acknowledge anew.
func (r *Reconciler) Mark(ctx context.Context, node, reason string) error {
	var current v1alpha1.VIPNode
	if err := r.Client.Get(ctx, types.NamespacedName{Name: node}, &current); err != nil {
		if apierrors.IsNotFound(err) {
			return nil // without a VIPNode nothing is placed there either
		}
		return fmt.Errorf("reading VIPNode %s: %w", node, err)
	}
	if s := current.Spec.Suspect; s != nil && (s.Reason == reason || s.Reason == failover.FellSilent) {
		return nil
	}
	next := current.DeepCopy()
	next.Spec.Suspect = &v1alpha1.Suspicion{ID: string(uuid.NewUUID()), Reason: reason, Since: metav1.NewTime(r.Clock.Now())}
	if err := r.patch(ctx, next, &current); err != nil {
		return fmt.Errorf("marking node %s suspect: %w", node, err)
	}
	klog.FromContext(ctx).Info("A node is suspect", "node", node, "reason", reason)
	r.Teller.Tell(next, serving.Event{Warning: true, Reason: reason, Action: "Suspect", Note: messages[reason]})
	suspected.WithLabelValues(reason).Inc()
	return nil
}

// Reconcile ends a suspicion that its node has acknowledged, marks those whom the node's announcer no longer hears, and sees
// to it that the node knows its neighbours.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var node v1alpha1.VIPNode
	if err := r.Client.Get(ctx, req.NamespacedName, &node); err != nil {
		r.accusations(req.Name, nil)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	next := node.DeepCopy()
	cleared := node.Spec.Suspect != nil && node.Spec.Suspect.ID == node.Status.SuspectAcknowledged
	if cleared {
		next.Spec.Suspect = nil
	}
	var all v1alpha1.VIPNodeList
	if err := r.Client.List(ctx, &all); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing VIPNodes: %w", err)
	}
	next.Spec.Neighbours = Neighbours(node.Name, all.Items)
	if cleared || !slices.Equal(next.Spec.Neighbours, node.Spec.Neighbours) {
		if err := r.patch(ctx, next, &node); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	if cleared {
		klog.FromContext(ctx).Info("A suspect node is back", "node", node.Name, "reason", node.Spec.Suspect.Reason, "after", r.Clock.Since(node.Spec.Suspect.Since.Time))
		r.Teller.Tell(next, serving.Event{Reason: "Back", Action: "Clear", Note: "Its announcer hears the wire and reports: VIPs may be placed there again"})
	}
	r.warn(&node)
	silent, again := r.current(&node, next.Spec.Neighbours)
	for _, accused := range r.accusations(node.Name, silent) {
		if node.Spec.Suspect != nil {
			continue // who is suspect is no witness
		}
		if err := r.Mark(ctx, accused, failover.FellSilent); err != nil {
			r.accusations(node.Name, nil) // so that it counts at the next try
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// warn tells of what makes a node answer for VIPs that it doesn't announce.
func (r *Reconciler) warn(node *v1alpha1.VIPNode) {
	c := meta.FindStatusCondition(node.Status.Conditions, v1alpha1.NodeStrictARP)
	if c == nil || c.Status != metav1.ConditionFalse {
		r.Teller.Settle(node.UID, v1alpha1.NodeStrictARP)
		return
	}
	r.Teller.TellOnce(node, v1alpha1.NodeStrictARP, serving.Event{Warning: true, Reason: c.Reason, Action: "Announce", Note: c.Message})
}

// patch writes a VIPNode's spec; a conflict means that somebody wrote in between, and that their state is coming.
func (r *Reconciler) patch(ctx context.Context, next, current *v1alpha1.VIPNode) error {
	return r.Client.Patch(ctx, next, client.MergeFromWithOptions(current, client.MergeFromWithOptimisticLock{}))
}

// current returns which of a node's silent neighbours it misses where it is to listen for them. Right after it was told to do so behind
// another NIC, as the one before has lost its carrier, or has it back, it may still miss them behind that; then again is for how long.
func (r *Reconciler) current(node *v1alpha1.VIPNode, next []v1alpha1.Neighbour) (silent []string, again time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Clock.Now()
	if r.rewired == nil {
		r.rewired = map[watching]time.Time{}
	}
	maps.DeleteFunc(r.rewired, func(_ watching, since time.Time) bool { return now.Sub(since) >= toldWithin })
	for _, n := range next {
		if slices.ContainsFunc(node.Spec.Neighbours, func(old v1alpha1.Neighbour) bool { return old.Node == n.Node && old.Address != n.Address }) {
			r.rewired[watching{node.Name, n.Node}] = now
		}
	}
	for _, name := range node.Status.SilentNeighbours {
		since, ok := r.rewired[watching{node.Name, name}]
		if !ok {
			silent = append(silent, name)
			continue
		}
		again = max(again, toldWithin-now.Sub(since))
	}
	return silent, again
}

// accusations remembers whom a node accuses and returns whom it didn't accuse before.
func (r *Reconciler) accusations(by string, silent []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accused == nil {
		r.accused = map[string][]string{}
	}
	var fresh []string
	for _, node := range silent {
		if !slices.Contains(r.accused[by], node) {
			fresh = append(fresh, node)
		}
	}
	if len(silent) == 0 {
		delete(r.accused, by)
	} else {
		r.accused[by] = slices.Clone(silent)
	}
	return fresh
}

// Package pool says in each VIPPool's status how much of it is used, and what is wrong with it.
package pool

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/serving"
	"evenkeel.io/evenkeel/controller/written"
)

// Debounce is how long after a change of what is taken the status is written: one write for a burst of Services.
const Debounce = time.Second

// Reconciler keeps the status of one pool at a time.
type Reconciler struct {
	Client  client.Client
	Clock   clock.PassiveClock
	Ledger  *ledger.Ledger
	Written *written.Tracker
	Patches Patches
	Teller  *serving.Teller
}

// Patches judges podTemplatePatches; place.Keeper is one.
type Patches interface {
	// RefusedPatch says why a pool's patch can't be used; empty: it can, or there is none.
	RefusedPatch(ctx context.Context, pool *v1alpha1.VIPPool) (string, error)
}

// Reconcile writes the pool's status if it changed.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Ledger.Ready():
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	var pool v1alpha1.VIPPool
	if err := r.Client.Get(ctx, req.NamespacedName, &pool); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if r.Written.Stale(&pool) {
		return ctrl.Result{}, nil // its newer state is on the way, and with it the next call
	}
	refusal, err := r.Patches.RefusedPatch(ctx, &pool)
	if err != nil {
		return ctrl.Result{}, err
	}
	r.tellPatch(&pool, refusal)
	state := r.Ledger.Pool(pool.Name)
	next := pool.DeepCopy()
	next.Status = status(&pool, state, refusal, metav1.NewTime(r.Clock.Now()))
	if !equality.Semantic.DeepEqual(pool.Status, next.Status) {
		err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(&pool, client.MergeFromWithOptimisticLock{}))
		switch {
		case apierrors.IsConflict(err):
			return ctrl.Result{RequeueAfter: Debounce}, nil
		case err != nil:
			return ctrl.Result{}, client.IgnoreNotFound(fmt.Errorf("patching status of VIPPool %s: %w", pool.Name, err))
		}
		r.Written.Wrote(next)
	}
	if refusal != "" && state.Retry.IsZero() { // what the API server refuses now it may take later
		return ctrl.Result{RequeueAfter: retryPatch}, nil
	}
	if !state.Retry.IsZero() {
		return ctrl.Result{RequeueAfter: max(state.Retry.Sub(r.Clock.Now()), 0) + Debounce}, nil
	}
	return ctrl.Result{}, nil
}

// retryPatch is after how long a patch that was refused is looked at again.
const retryPatch = time.Minute

// tellPatch tells that a pool's patch isn't used.
func (r *Reconciler) tellPatch(pool *v1alpha1.VIPPool, refusal string) {
	if refusal == "" {
		r.Teller.Settle(pool.UID, "patch")
		return
	}
	r.Teller.TellOnce(pool, "patch", serving.Event{Warning: true, Reason: v1alpha1.ReasonInvalidPatch, Action: "Place",
		Note: "podTemplatePatch isn't used: " + refusal})
}

// status makes a pool's status of its present one, the ledger's numbers and what speaks against its patch. It is pure.
func status(pool *v1alpha1.VIPPool, state ledger.PoolState, refusal string, now metav1.Time) v1alpha1.VIPPoolStatus {
	next := *pool.Status.DeepCopy()
	next.ObservedGeneration = pool.Generation
	next.IPv4, next.IPv6 = usage(state.Usage, ipam.IPv4), usage(state.Usage, ipam.IPv6)
	ready := metav1.Condition{Type: v1alpha1.PoolReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPoolValid, ObservedGeneration: pool.Generation, LastTransitionTime: now}
	reason, messages := problems(pool, state.Problems, refusal)
	if reason != "" {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, reason, messages
	}
	meta.SetStatusCondition(&next.Conditions, ready)
	return next
}

func usage(all map[ipam.Family]ipam.Usage, family ipam.Family) *v1alpha1.FamilyUsage {
	u, ok := all[family]
	if !ok {
		return nil
	}
	return &v1alpha1.FamilyUsage{Assigned: u.Assigned, Available: u.Available}
}

// maxMessage is the longest message of a condition (its CRD schema).
const maxMessage = 32768

// problems names the gravest problem as the reason and all of them in the message.
func problems(pool *v1alpha1.VIPPool, found []ipam.Problem, refusal string) (reason, message string) {
	reasons := map[ipam.ProblemKind]string{
		ipam.Unreadable: v1alpha1.ReasonInvalidEntry, ipam.Reversed: v1alpha1.ReasonReversedRange, ipam.Overlapping: v1alpha1.ReasonOverlap,
	}
	var messages []string
	for _, kind := range []ipam.ProblemKind{ipam.Unreadable, ipam.Reversed, ipam.Overlapping} {
		for _, problem := range found {
			if problem.Kind == kind {
				reason = firstOf(reason, reasons[kind])
				messages = append(messages, problem.Message)
			}
		}
	}
	for _, s := range []struct {
		field    string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", pool.Spec.NamespaceSelector}, {"serviceSelector", pool.Spec.ServiceSelector}, {"nodeSelector", pool.Spec.NodeSelector}} {
		if _, err := metav1.LabelSelectorAsSelector(s.selector); err != nil {
			reason = v1alpha1.ReasonInvalidPoolRef
			messages = append(messages, fmt.Sprintf("%s: %v", s.field, err))
		}
	}
	if refusal != "" {
		reason = firstOf(reason, v1alpha1.ReasonInvalidPatch)
		messages = append(messages, "podTemplatePatch isn't used: "+refusal)
	}
	if _, errs := policy.Of(pool.Spec.Rebalance, policy.Default(), field.NewPath("spec", "rebalance")); len(errs) > 0 {
		reason = firstOf(reason, v1alpha1.ReasonInvalidRebalance)
		for _, err := range errs {
			messages = append(messages, err.Error())
		}
		messages = append(messages, "VIPs of this pool aren't moved to even out until that is corrected")
	}
	message = strings.Join(messages, "; ")
	if len(message) > maxMessage {
		message = message[:maxMessage-len("...")] + "..."
	}
	return reason, message
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

package rebalancer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalance/survey"
	"evenkeel.io/evenkeel/controller/serving"
)

// Reasons of condition Balanced beside those that hold moves back.
const (
	reasonEven   = "Even"
	reasonMoving = "EveningOut"
	reasonStuck  = "NoMoveHelps"
	reasonFailed = "MoveFailed"
)

// report writes how even a pool's VIPs are into its status, where that has changed, and tells about a request that can't be read.
func (r *Rebalancer) report(ctx context.Context, pool *v1alpha1.VIPPool, o survey.Outlook, now time.Time) error {
	if _, err := policy.Requested(pool, now); err != nil {
		r.Teller.TellOnce(pool, "request", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Rebalance", Note: err.Error()})
	} else {
		r.Teller.Settle(pool.UID, "request")
	}
	next := pool.DeepCopy()
	c := balanced(pool.Name, o.Pools[pool.Name], r.failed, now)
	if meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.PoolBalanced) != nil || c.Status == metav1.ConditionFalse {
		// A pool whose VIPs have always been even is written nothing on.
		c.ObservedGeneration, c.LastTransitionTime = pool.Generation, metav1.NewTime(now)
		meta.SetStatusCondition(&next.Status.Conditions, c)
	}
	if slices.Contains(o.Served, pool.Name) {
		if next.Status.Rebalance == nil {
			next.Status.Rebalance = &v1alpha1.RebalanceStatus{}
		}
		next.Status.Rebalance.HandledRequest = pool.Annotations[placeholder.AnnotationRebalanceNow]
	}
	if equality.Semantic.DeepEqual(pool.Status, next.Status) {
		return nil
	}
	if err := r.patchStatus(ctx, pool, next); err != nil {
		return ignoreChanged(err)
	}
	next.DeepCopyInto(pool)
	return nil
}

// balanced is a pool's condition. It is pure, and says nothing that the passing of time alone changes: that would be a write each turn.
func balanced(pool string, s survey.Standing, failed failure, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.PoolBalanced, Status: metav1.ConditionTrue, Reason: reasonEven}
	if s.Even {
		return c
	}
	c.Status, c.Reason = metav1.ConditionFalse, reasonMoving
	var words []string
	if failed.until.After(now) && s.Missing > 0 {
		c.Reason = reasonFailed
		words = append(words, fmt.Sprintf("the move of VIP %s to node %s came to nothing, so nothing is moved%s", failed.vip, failed.node, until(failed.until)))
	}
	for _, h := range s.Held {
		if h.Reason == policy.MovesUnderWay || h.Reason == survey.UnderWay {
			continue // that is how it goes
		}
		if c.Reason == reasonMoving {
			c.Reason = string(h.Reason)
		}
		words = append(words, sentence(pool, h))
	}
	switch {
	case s.Missing > 0:
		c.Message = fmt.Sprintf("%d moves are missing", s.Missing)
	case c.Reason != reasonMoving:
		c.Message = "VIPs are uneven"
	case s.UnderWay > 0:
		c.Message = "The last moves are under way"
	case len(s.Held) > 0: // something is changing
		c.Message = "VIPs are uneven, and their places are changing"
	default:
		c.Reason, c.Message = reasonStuck, "VIPs are uneven, but those that may be moved may not go where they would have to"
	}
	const most = 8
	if more := len(words) - most; more > 0 {
		words = append(words[:most], fmt.Sprintf("and %d more", more))
	}
	if len(words) > 0 {
		c.Message += ". " + strings.Join(words, "; ")
	}
	return c
}

func sentence(pool string, h survey.Held) string {
	text := h.Message
	switch {
	case h.VIP != "":
		text = "VIP " + h.VIP + ": " + text
	case h.Node != "":
		text = "node " + h.Node + ": " + text
	case h.Pool != pool:
		text = "pool " + h.Pool + ": " + text
	}
	return text + until(h.Until)
}

func until(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " (until " + at.UTC().Format("15:04:05 MST") + ")"
}

func (r *Rebalancer) patchStatus(ctx context.Context, pool, next *v1alpha1.VIPPool) error {
	if err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(pool, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("patching status of VIPPool %s: %w", pool.Name, err)
	}
	return nil
}

// tell keeps what was found for the metrics.
func (r *Rebalancer) tell(o survey.Outlook) {
	found := Found{Missing: len(o.Moves), Held: map[policy.Reason]int{}}
	for _, h := range o.Held {
		found.Held[h.Reason]++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = found
}

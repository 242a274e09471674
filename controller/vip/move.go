package vip

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// endMove takes the wish for a move off a VIP, and tells about one that came to nothing.
func (r *Reconciler) endMove(ctx context.Context, s place.Subject, end *failover.WishEnd) error {
	vip := r.Ledger.VIP(s.VIP.Name) // what the status's write returned is newer than what we began with
	if vip == nil || vip.Spec.Move == nil || s.VIP.Spec.Move == nil || *vip.Spec.Move != *s.VIP.Spec.Move {
		return nil // another wish by now
	}
	move := *vip.Spec.Move
	changed := vip.DeepCopy()
	changed.Spec.Move = nil
	if err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("ending the move of VIP %s to node %s: %w", vip.Name, move.To, err)
	}
	r.Ledger.ObserveVIP(changed)
	outcome := outcomeDone
	if !end.Done {
		outcome = outcomeFailed
		klog.FromContext(ctx).Info("A planned move was given up", "node", move.To, "reason", move.Reason, "why", end.Note)
	}
	if !end.Done && s.Service != nil {
		r.Teller.Tell(s.Service, serving.Event{Warning: true, Reason: "MoveFailed", Action: "Move",
			Note: fmt.Sprintf("%s stays where it is: it was to move to node %s (%s), but %s", strings.Join(vip.Spec.Addresses, " and "), move.To, move.Reason, end.Note)})
	}
	wishedMoves.WithLabelValues(move.Reason, outcome).Inc()
	return nil
}

// whyMoved is the reason of a VIP's last move: what this process did, or what an earlier leader was about to.
func (r *Reconciler) whyMoved(vip *v1alpha1.VIP, node string) string {
	if why := r.reason(vip.Name); why != "" {
		return why
	}
	if move := vip.Spec.Move; move != nil && move.To == node {
		return move.Reason
	}
	return ""
}

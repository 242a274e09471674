package vip

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// takeOrder makes a wish of the annotation by which people ask for a move, in place of whatever was wished before.
func (r *Reconciler) takeOrder(ctx context.Context, vip *v1alpha1.VIP) (*v1alpha1.VIP, error) {
	to, ok := vip.Annotations[placeholder.AnnotationMoveTo]
	if !ok {
		return vip, nil
	}
	changed := vip.DeepCopy()
	delete(changed.Annotations, placeholder.AnnotationMoveTo)
	if errs := validation.IsDNS1123Subdomain(to); len(errs) > 0 { // no node is called so
		klog.FromContext(ctx).Info("Ignored an order to move", "annotation", placeholder.AnnotationMoveTo, "value", to, "err", errs[0])
	} else {
		changed.Spec.Move = &v1alpha1.MoveRequest{To: to, Reason: v1alpha1.ReasonUser, RequestedAt: metav1.NewTime(r.Clock.Now())}
	}
	if err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("taking the order to move VIP %s to node %q: %w", vip.Name, to, err)
	}
	r.Ledger.ObserveVIP(changed)
	return changed, nil
}

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

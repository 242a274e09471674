// Package nodenotes tells people, by events on Nodes, about annotations there that can't be followed.
package nodenotes

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/serving"
)

// Reconciler looks at one Node at a time. It writes nothing but events.
type Reconciler struct {
	Client client.Client
	Teller *serving.Teller
}

// Mistakes says which annotations of a node can't be followed, and what is done instead. vipNode is nil while the node has no announcer:
// then nobody knows the speed of its NICs, which is no mistake.
func Mistakes(node *corev1.Node, vipNode *v1alpha1.VIPNode) (capacity, most error) {
	if vipNode != nil || node.Annotations[placeholder.AnnotationCapacity] != placeholder.CapacityNICSpeed {
		var facts eligible.Facts
		if vipNode != nil {
			facts = eligible.FactsOf(vipNode)
		}
		if _, err := placeholder.Capacity(node, facts.SpeedMbps); err != nil {
			capacity = fmt.Errorf("%w. Its capacity counts 1", err)
		}
	}
	if _, err := placeholder.NodeLimit(node); err != nil {
		most = fmt.Errorf("%w. It takes any number of VIPs", err)
	}
	return capacity, most
}

// Reconcile tells about a Node's annotations, once until they change.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var node corev1.Node
	if err := r.Client.Get(ctx, req.NamespacedName, &node); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading Node %s: %w", req.Name, err)
	}
	var vipNode *v1alpha1.VIPNode
	var found v1alpha1.VIPNode
	switch err := r.Client.Get(ctx, req.NamespacedName, &found); {
	case err == nil:
		vipNode = &found
	case !apierrors.IsNotFound(err):
		return ctrl.Result{}, fmt.Errorf("reading VIPNode %s: %w", req.Name, err)
	}
	capacity, most := Mistakes(&node, vipNode)
	r.tell(&node, placeholder.AnnotationCapacity, capacity)
	r.tell(&node, placeholder.AnnotationMaxVIPs, most)
	return ctrl.Result{}, nil
}

func (r *Reconciler) tell(node *corev1.Node, about string, mistake error) {
	if mistake == nil {
		r.Teller.Settle(node.UID, about)
		return
	}
	r.Teller.TellOnce(node, about, serving.Event{Warning: true, Reason: "InvalidAnnotation", Action: "Place", Note: mistake.Error()})
}

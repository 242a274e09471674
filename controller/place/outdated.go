package place

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
)

// askOf is what a placeholder asks of nodes and that can't be changed once it is made.
func askOf(pod *corev1.Pod) corev1.PodSpec {
	return corev1.PodSpec{Affinity: pod.Spec.Affinity, NodeSelector: pod.Spec.NodeSelector, Tolerations: pod.Spec.Tolerations}
}

// waiting names the placeholders that have no node yet.
func (p Places) waiting() map[string]bool {
	names := map[string]bool{}
	for _, pod := range append([]*corev1.Pod{p.Live}, p.Standbys...) {
		if pod != nil && pod.Spec.NodeName == "" {
			names[pod.Name] = true
		}
	}
	return names
}

// Renew deletes the placeholders that wait for a node by what the pool or the Service wanted when they were made: the scheduler would
// place them by that, or never. It reports whether there was one. Those that have a node are moved where they may no longer be there.
//
// What was asked for is remembered rather than read from the pod, as admission may have added to it; after a restart the pod is all
// there is, and it is renewed once more at most.
func (t *Turn) Renew(ctx context.Context) (bool, error) {
	if t.subject.Pool == nil { // what it said stays
		return false, nil
	}
	renewed := false
	for _, pod := range append([]*corev1.Pod{t.Live}, t.Standbys...) {
		if pod == nil || pod.Spec.NodeName != "" {
			continue
		}
		asked, known := t.memory.asked[pod.Name]
		if !known {
			asked = askOf(pod)
		}
		role := placeholder.RoleOf(pod)
		now := askOf(Build(t.subject, t.keeper.look, Claim{Role: role, On: Target(pod)}, pod.Annotations))
		if equality.Semantic.DeepEqual(asked, now) {
			continue
		}
		renewed = true
		klog.FromContext(ctx).V(2).Info("Renewing a placeholder that asks for other nodes than its pool does now", "pod", klog.KObj(pod), "role", role)
		// As it was looked at: the scheduler may have found a node meanwhile.
		err := t.keeper.client.Delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return true, fmt.Errorf("renewing placeholder %s: %w", pod.Name, err)
		}
	}
	return renewed, nil
}

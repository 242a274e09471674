package place

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Guard makes a standby for a placeholder that people wrote: it announces what that one announces, on nodes where that one might
// be, and goes when it goes, being owned by it. n tells the VIP's guards apart.
func Guard(active *corev1.Pod, look Look, n int, peers []placeholder.Peer) *corev1.Pod {
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: active.Labels[placeholder.LabelVIP]}}
	pod := Build(Subject{VIP: vip}, look, Claim{Role: placeholder.Standby, Term: placeholder.Term(active), Peers: peers}, nil)
	pod.Name = vip.Name + "-guard-" + strconv.Itoa(n)
	pod.OwnerReferences = []metav1.OwnerReference{ownedByPod(active)}
	for _, key := range []string{placeholder.AnnotationAddresses, placeholder.AnnotationWeight, placeholder.AnnotationInterfaces, placeholder.AnnotationPorts, placeholder.AnnotationHandoff} {
		if value, ok := active.Annotations[key]; ok {
			pod.Annotations[key] = value
		} else {
			delete(pod.Annotations, key)
		}
	}
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, active.Spec.Tolerations...)
	pod.Spec.NodeSelector = maps.Clone(active.Spec.NodeSelector)
	if a := active.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.DeepCopy(),
		}}
	}
	return pod
}

// NeedsOfPod returns what a pod asks of a node.
func NeedsOfPod(pod *corev1.Pod) Needs {
	return Needs{Tolerations: pod.Spec.Tolerations, Nodes: nodeaffinity.GetRequiredNodeAffinity(pod)}
}

func ownedByPod(pod *corev1.Pod) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}
}

// IsGuard says whether a pod was made by Guard.
func IsGuard(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && owner.Kind == "Pod" && placeholder.RoleOf(pod) == placeholder.Standby
}

// CreateGuard creates a guard under the first number that none of the VIP's pods has. One that exists already, which the cache
// doesn't show yet, is as good.
func (k *Keeper) CreateGuard(ctx context.Context, active *corev1.Pod, names []string, peers []placeholder.Peer) error {
	n := 1
	for slices.Contains(names, active.Labels[placeholder.LabelVIP]+"-guard-"+strconv.Itoa(n)) {
		n++
	}
	pod := Guard(active, k.look, n, peers)
	if err := k.client.Create(ctx, pod); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating standby %s: %w", pod.Name, err)
	}
	klog.FromContext(ctx).V(2).Info("Created a standby for a placeholder that was written by hand", "pod", klog.KObj(pod), "active", klog.KObj(active))
	return nil
}

// TellHandWritten tells a pod of a VIP without a Service its term (0: as it is) and the succession; a guard that it now belongs to
// owner (nil: as it is).
func (k *Keeper) TellHandWritten(ctx context.Context, pod *corev1.Pod, term int64, list []placeholder.Peer, owner *corev1.Pod) error {
	want, metadata := map[string]string{}, map[string]any{}
	if term != 0 {
		want[placeholder.AnnotationTerm] = strconv.FormatInt(term, 10)
	}
	if !knows(pod, list) {
		want[placeholder.AnnotationPeers] = placeholder.FormatPeers(list)
	}
	if patch := Difference(pod.Annotations, want); len(patch) > 0 {
		metadata["annotations"] = patch
	}
	if current := metav1.GetControllerOf(pod); owner != nil && current != nil && current.UID != owner.UID {
		metadata["ownerReferences"] = []metav1.OwnerReference{ownedByPod(owner)}
	}
	if len(metadata) == 0 {
		return nil
	}
	metadata["resourceVersion"] = pod.ResourceVersion // refuses what was looked at too long ago
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("writing a patch for placeholder %s: %w", pod.Name, err)
	}
	if err := k.client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, data)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patching placeholder %s: %w", pod.Name, err)
	}
	return nil
}

// Nodes looks VIPNodes up for the length of a request.
func (k *Keeper) Nodes(ctx context.Context) Nodes { return k.nodes(ctx) }

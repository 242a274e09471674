package vip

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
)

// users finds the Services that use the VIP, in the order in which they joined. gone are those that do so no longer: deleted,
// another one has the name, or it is no longer ours. The API server itself is asked before that is believed: a cache may be older
// than the VIP.
func (r *Reconciler) users(ctx context.Context, vip *v1alpha1.VIP) (services []*corev1.Service, gone []types.UID, err error) {
	for _, ref := range vip.Spec.Services {
		service, ok, err := r.user(ctx, r.Client, ref)
		if err == nil && !ok {
			service, ok, err = r.user(ctx, r.Reader, ref)
		}
		if err != nil {
			return nil, nil, err
		}
		if ok {
			services = append(services, service)
		} else {
			gone = append(gone, ref.UID)
		}
	}
	return services, gone, nil
}

// user finds a Service and says whether it is to have a VIP.
func (r *Reconciler) user(ctx context.Context, reader client.Reader, ref v1alpha1.ServiceReference) (*corev1.Service, bool, error) {
	var s corev1.Service
	err := reader.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &s)
	if apierrors.IsNotFound(err) || err == nil && s.UID != ref.UID {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading Service %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	return &s, r.Class.Wants(&s), nil
}

// Leave ends the use of a VIP by some Services. With the last one the VIP is released. The write fails with a conflict where the VIP
// has changed since: somebody may have joined it.
func Leave(ctx context.Context, c client.Client, l *ledger.Ledger, vip *v1alpha1.VIP, now time.Time, uids ...types.UID) (*v1alpha1.VIP, error) {
	left := vip.DeepCopy()
	left.Spec.Services = slices.DeleteFunc(left.Spec.Services, func(ref v1alpha1.ServiceReference) bool { return slices.Contains(uids, ref.UID) })
	if len(left.Spec.Services) == 0 {
		return Release(ctx, c, l, vip, now)
	}
	if len(left.Spec.Services) == len(vip.Spec.Services) {
		return vip, nil
	}
	if err := c.Patch(ctx, left, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("leaving VIP %s: %w", vip.Name, err)
	}
	l.ObserveVIP(left)
	klog.FromContext(ctx).Info("Left a shared VIP", "vip", vip.Name, "services", len(left.Spec.Services))
	return left, nil
}

// Release ends a VIP's use: from now on it only waits until its addresses are certainly gone from every node.
func Release(ctx context.Context, c client.Client, l *ledger.Ledger, vip *v1alpha1.VIP, now time.Time) (*v1alpha1.VIP, error) {
	released := vip.DeepCopy()
	released.Spec.Services = nil
	at := metav1.NewTime(now)
	released.Spec.ReleasedAt = &at
	if err := c.Patch(ctx, released, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("releasing VIP %s: %w", vip.Name, err)
	}
	l.ObserveVIP(released)
	klog.FromContext(ctx).Info("Released VIP", "vip", vip.Name, "addresses", vip.Spec.Addresses)
	return released, nil
}

// release is the end of a VIP that no Service uses. The placeholders go first, marked so that their announcers let go at once;
// the VIP object, which keeps the addresses taken, goes when they are free again.
func (r *Reconciler) release(ctx context.Context, vip *v1alpha1.VIP) (time.Duration, error) {
	places, err := r.Keeper.Places(ctx, vip)
	if err != nil {
		return 0, err
	}
	pods := append(append(places.Surplus, places.Standbys...), places.Ended...)
	if places.Live != nil {
		pods = append(pods, places.Live)
	}
	for _, pod := range pods {
		if err := r.endPlaceholder(ctx, pod); err != nil {
			return 0, err
		}
	}
	if err := r.reportReleasing(ctx, vip); err != nil {
		return 0, err
	}
	if wait := vip.Spec.ReleasedAt.Add(r.Ledger.Quarantine()).Sub(r.Clock.Now()); wait > 0 {
		return wait, nil
	}
	if len(r.Ledger.PodsOn(ledger.Addresses(vip))) > 0 || r.Keeper.Expects(vip.Name) {
		return time.Second, nil // their end is seen by a watch too; this only bounds what was missed
	}
	if err := r.Client.Delete(ctx, vip, client.Preconditions{UID: &vip.UID}); err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("deleting VIP %s: %w", vip.Name, err)
	}
	r.Keeper.Forget(vip.Name)
	klog.FromContext(ctx).Info("Freed addresses", "vip", vip.Name, "addresses", vip.Spec.Addresses)
	return 0, nil
}

func (r *Reconciler) endPlaceholder(ctx context.Context, pod *corev1.Pod) error {
	if err := place.Release(ctx, r.Client, pod); err != nil {
		return err
	}
	return r.deletePod(ctx, pod)
}

func (r *Reconciler) deletePod(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		return nil
	}
	if err := r.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting placeholder %s: %w", pod.Name, err)
	}
	return nil
}

// reportReleasing writes once that the VIP is on its way out.
func (r *Reconciler) reportReleasing(ctx context.Context, vip *v1alpha1.VIP) error {
	if c := meta.FindStatusCondition(vip.Status.Conditions, v1alpha1.VIPAnnounced); c != nil && c.Reason == v1alpha1.ReasonReleasing {
		return nil
	}
	next := *vip.Status.DeepCopy()
	next.Node, next.Since, next.StandbyNodes, next.Services = "", nil, nil, ""
	meta.SetStatusCondition(&next.Conditions, metav1.Condition{
		Type: v1alpha1.VIPAnnounced, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonReleasing, LastTransitionTime: metav1.NewTime(r.Clock.Now()),
		Message: "No Service uses it. Its addresses are free again when no node can hold them any more",
	})
	return r.patchStatus(ctx, r.Ledger.VIP(vip.Name), next)
}

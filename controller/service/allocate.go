package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
)

// maxTries bounds how many addresses are tried whose VIP objects exist though we didn't know of them: made by a leader before
// us, seen by none of our watches yet. Each try teaches the ledger one.
const maxTries = 64

// allocate gives the Service a VIP. Where it can't be now, the error is an *ipam.Refusal and retry says when something changes by itself.
func (r *Reconciler) allocate(ctx context.Context, service *corev1.Service, w wish) (vip *v1alpha1.VIP, retry time.Time, err error) {
	taker := ledger.Taker{NamespacedName: client.ObjectKeyFromObject(service), UID: service.UID}
	request := ipam.Request{
		Families: w.families, All: w.all, Pool: w.pool, Addresses: w.addresses,
		Prefer:  ledger.IngressAddresses(service),
		Allowed: func(pool string) bool { return r.allowed(ctx, pool, service) },
	}
	for range maxTries {
		name, a, retry, err := r.Ledger.Take(request, taker)
		if err != nil {
			return nil, retry, err
		}
		vip, err := r.record(ctx, name, a, taker, r.weight(service))
		if err != nil || vip != nil {
			return vip, time.Time{}, err
		}
	}
	return nil, time.Time{}, fmt.Errorf("allocating for Service %s: %d addresses in a row were taken by VIPs that no watch has shown yet", taker, maxTries)
}

// record creates the VIP object, which is what makes an allocation. It returns nil where another VIP has that name: the
// ledger knows it now. A VIP of this very Service is adopted.
func (r *Reconciler) record(ctx context.Context, name string, a ipam.Allocation, taker ledger.Taker, weight int64) (*v1alpha1.VIP, error) {
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.VIPSpec{
		Pool:     a.Pool,
		Weight:   weight,
		Services: []v1alpha1.ServiceReference{{Namespace: taker.Namespace, Name: taker.Name, UID: taker.UID}},
	}}
	for _, addr := range a.Addresses {
		vip.Spec.Addresses = append(vip.Spec.Addresses, addr.String())
	}
	err := r.Client.Create(ctx, vip)
	if err == nil {
		r.Ledger.ObserveVIP(vip)
		klog.FromContext(ctx).Info("Allocated", "vip", name, "addresses", placeholder.FormatAddresses(a.Addresses), "pool", a.Pool)
		return vip, nil
	}
	defer r.Ledger.Abandon(name) // does nothing once the VIP is known
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("creating VIP %s: %w", name, err)
	}
	var existing v1alpha1.VIP
	if err := r.Reader.Get(ctx, types.NamespacedName{Name: name}, &existing); err != nil {
		return nil, fmt.Errorf("looking at VIP %s: %w", name, err)
	}
	r.Ledger.ObserveVIP(&existing)
	for _, ref := range existing.Spec.Services {
		if ref.UID == taker.UID && existing.DeletionTimestamp == nil {
			return &existing, nil
		}
	}
	return nil, nil
}

// allowed says whether a pool's selectors match the Service and its namespace. A selector that can't be read matches nothing;
// the pool's status says so.
func (r *Reconciler) allowed(ctx context.Context, name string, service *corev1.Service) bool {
	var pool v1alpha1.VIPPool
	if err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &pool); err != nil {
		return false // deleted a moment ago
	}
	if !matches(pool.Spec.ServiceSelector, service.Labels) {
		return false
	}
	if pool.Spec.NamespaceSelector == nil {
		return true
	}
	var namespace corev1.Namespace
	if err := r.Client.Get(ctx, types.NamespacedName{Name: service.Namespace}, &namespace); err != nil {
		return false
	}
	return matches(pool.Spec.NamespaceSelector, namespace.Labels)
}

func matches(selector *metav1.LabelSelector, set map[string]string) bool {
	if selector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}

// refusal returns the error as a refusal, or nil.
func refusal(err error) *ipam.Refusal {
	var refused *ipam.Refusal
	if errors.As(err, &refused) {
		return refused
	}
	return nil
}

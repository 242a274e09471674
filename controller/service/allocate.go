package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
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

// given is a VIP that a Service was given.
type given struct {
	*v1alpha1.VIP
	// joined: others use it, too.
	joined bool
}

// allocate gives the Service a VIP that it needs. Where it can't be now, the error is an *ipam.Refusal, or ledger.ErrForming, and
// retry says when something changes by itself.
func (r *Reconciler) allocate(ctx context.Context, service *corev1.Service, w wish, n need, taker ledger.Taker) (got given, retry time.Time, err error) {
	request := r.request(service, w, n)
	request.Allowed = func(pool string) bool { return r.allowed(ctx, pool, service) }
	for range maxTries {
		grant, retry, err := r.Ledger.Take(request, taker)
		if err != nil {
			return given{}, retry, err
		}
		write := func(ctx context.Context, grant ledger.Grant, taker ledger.Taker) (*v1alpha1.VIP, error) {
			return r.record(ctx, grant, taker, r.weight(service))
		}
		if grant.Joins {
			write = r.join
		}
		vip, err := write(ctx, grant, taker)
		if err != nil || vip != nil {
			return given{vip, grant.Joins}, time.Time{}, err
		}
	}
	return given{}, time.Time{}, fmt.Errorf("allocating for Service %s: %d addresses in a row were taken by VIPs that no watch has shown yet", taker, maxTries)
}

// request asks the ledger for a VIP. What the Service shows and doesn't have is what it had before.
func (r *Reconciler) request(service *corev1.Service, w wish, n need) ipam.Request {
	has := r.addressesOf(service)
	return ipam.Request{
		Families: n.families, All: w.all || len(n.addresses) > 0, Pool: w.pool, Near: n.near, Addresses: n.addresses,
		Prefer: slices.DeleteFunc(ledger.IngressAddresses(service), func(a netip.Addr) bool { return slices.Contains(has, a) }),
	}
}

// record creates the VIP object, which is what makes an allocation. It returns nil where another VIP has that name: the
// ledger knows it now. A VIP of this very Service is adopted.
func (r *Reconciler) record(ctx context.Context, grant ledger.Grant, taker ledger.Taker, weight int64) (*v1alpha1.VIP, error) {
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: grant.VIP}, Spec: v1alpha1.VIPSpec{
		Pool:     grant.Pool,
		Weight:   weight,
		Services: []v1alpha1.ServiceReference{reference(taker)},
	}}
	for _, addr := range grant.Addresses {
		vip.Spec.Addresses = append(vip.Spec.Addresses, addr.String())
	}
	err := r.Client.Create(ctx, vip)
	if err == nil {
		r.Ledger.ObserveVIP(vip)
		klog.FromContext(ctx).Info("Allocated", "vip", grant.VIP, "addresses", placeholder.FormatAddresses(grant.Addresses), "pool", grant.Pool)
		return vip, nil
	}
	defer r.Ledger.Abandon(grant, taker) // does nothing once the VIP is known
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("creating VIP %s: %w", grant.VIP, err)
	}
	return r.look(ctx, grant, taker)
}

// join adds the Service to a VIP that others use. It returns nil where the VIP has changed in between: the ledger knows how.
func (r *Reconciler) join(ctx context.Context, grant ledger.Grant, taker ledger.Taker) (*v1alpha1.VIP, error) {
	defer r.Ledger.Abandon(grant, taker) // does nothing once the VIP is known to be joined
	vip := r.Ledger.VIP(grant.VIP)
	if vip == nil {
		return nil, nil
	}
	joined := vip.DeepCopy()
	joined.Spec.Services = append(joined.Spec.Services, reference(taker))
	err := r.Client.Patch(ctx, joined, client.MergeFromWithOptions(vip, client.MergeFromWithOptimisticLock{}))
	switch {
	case err == nil:
		r.Ledger.ObserveVIP(joined)
		klog.FromContext(ctx).Info("Joined", "vip", grant.VIP, "addresses", placeholder.FormatAddresses(grant.Addresses), "services", len(joined.Spec.Services))
		return joined, nil
	case apierrors.IsConflict(err):
		return r.look(ctx, grant, taker)
	case apierrors.IsNotFound(err):
		r.Ledger.ForgetVIP(vip)
		return nil, nil
	default:
		return nil, fmt.Errorf("joining VIP %s: %w", grant.VIP, err)
	}
}

// look shows the ledger a VIP as it is, and returns it where the Service is in it.
func (r *Reconciler) look(ctx context.Context, grant ledger.Grant, taker ledger.Taker) (*v1alpha1.VIP, error) {
	var existing v1alpha1.VIP
	if err := r.Reader.Get(ctx, types.NamespacedName{Name: grant.VIP}, &existing); err != nil {
		return nil, fmt.Errorf("looking at VIP %s: %w", grant.VIP, err)
	}
	r.Ledger.ObserveVIP(&existing)
	for _, ref := range existing.Spec.Services {
		if ref.UID == taker.UID && existing.DeletionTimestamp == nil {
			return &existing, nil
		}
	}
	return nil, nil
}

func reference(taker ledger.Taker) v1alpha1.ServiceReference {
	return v1alpha1.ServiceReference{Namespace: taker.Namespace, Name: taker.Name, UID: taker.UID}
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

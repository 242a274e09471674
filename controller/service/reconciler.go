package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// Reconciler gives one Service at a time its VIP and keeps its ingress status right.
type Reconciler struct {
	Client   client.Client
	Reader   client.Reader // past the cache
	Clock    clock.PassiveClock
	Class    serving.Class
	Ledger   *ledger.Ledger
	Keeper   *place.Keeper
	Statuses serving.Statuses
	Teller   *serving.Teller

	mu      sync.Mutex
	known   map[types.NamespacedName]types.UID
	pending map[types.NamespacedName]waiting
	written map[types.UID]ingress
}

// waiting is what a Service of ours waits for.
type waiting int

const (
	nothing waiting = iota
	hoping          // for an address that it is content without
	lacking         // an address
)

// ingress is what was last written to a Service's status.
type ingress struct {
	at    time.Time
	addrs []netip.Addr
}

// correctionInterval is the least time between two writes of one Service's ingress. Somebody who writes it too can't draw us
// into a race.
const correctionInterval = time.Second

// Reconcile gives the Service what it asks for, or says why it can't have it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Ledger.Ready():
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("service", req.NamespacedName))
	var service corev1.Service
	if err := r.Client.Get(ctx, req.NamespacedName, &service); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName, "")
			return ctrl.Result{}, nil // its VIP is released by the VIP's own reconciliation
		}
		return ctrl.Result{}, fmt.Errorf("reading Service %s: %w", req.NamespacedName, err)
	}
	r.forget(req.NamespacedName, service.UID)
	if !r.Class.Wants(&service) {
		r.setPending(req.NamespacedName, nothing)
		r.Ledger.Unreserve(service.UID)
		r.Ledger.Undeclare(service.UID)
		_, err := r.Statuses.Patch(ctx, &service, serving.Clear)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	retry, err := r.reconcile(ctx, &service)
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	return ctrl.Result{RequeueAfter: retry}, client.IgnoreNotFound(err)
}

// conflictDelay is how long a watch may take to bring the state that a write collided with.
const conflictDelay = 100 * time.Millisecond

func (r *Reconciler) reconcile(ctx context.Context, service *corev1.Service) (time.Duration, error) {
	taker := takerOf(service)
	r.Ledger.Declare(taker)
	w, invalid := parseWish(service)
	w.count = r.count(service)
	o := outcome{plan: r.plan(service, w, taker), invalid: invalid}
	for invalid == nil && o.need != nil && len(o.given) < 2*placeholder.MaxVIPs {
		got, retryAt, err := r.allocate(ctx, service, w, *o.need, taker)
		if o.refused = refusal(err); o.refused != nil {
			o.retry = r.until(retryAt)
			break
		}
		if o.forming = errors.Is(err, ledger.ErrForming); o.forming {
			o.retry = formingDelay
			break
		}
		if err != nil {
			return 0, err
		}
		o.given = append(o.given, got)
		o.plan = r.plan(service, w, taker)
	}
	return r.carryOut(ctx, service, o)
}

func isIngress(service *corev1.Service, addrs []netip.Addr) bool {
	return slices.EqualFunc(service.Status.LoadBalancer.Ingress, addrs, func(in corev1.LoadBalancerIngress, addr netip.Addr) bool {
		return in.IP == addr.String() && in.Hostname == "" && in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeVIP && len(in.Ports) == 0
	})
}

// waitingCondition says in the Service's status why it has no address. lost: the one that it had is another's now.
func (r *Reconciler) waitingCondition(ctx context.Context, service *corev1.Service, reason, message string, lost bool) error {
	_, err := r.Statuses.Patch(ctx, service, func(status *corev1.ServiceStatus) {
		if lost {
			status.LoadBalancer.Ingress = nil
		}
		serving.SetAnnounced(status, metav1.ConditionFalse, reason, message, metav1.NewTime(r.Clock.Now()))
	})
	return err
}

func (r *Reconciler) pool(ctx context.Context, name string) (*v1alpha1.VIPPool, error) {
	var pool v1alpha1.VIPPool
	if err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &pool); err != nil {
		return nil, client.IgnoreNotFound(err) // deleted since: the allocation stands
	}
	return &pool, nil
}

// until returns how long it is to t (0: t is zero).
func (r *Reconciler) until(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(t.Sub(r.Clock.Now()), 0) + time.Millisecond
}

func (r *Reconciler) setPending(key types.NamespacedName, what waiting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if what == nothing {
		delete(r.pending, key)
		return
	}
	if r.pending == nil {
		r.pending = map[types.NamespacedName]waiting{}
	}
	r.pending[key] = what
}

// Pending lists the Services that would take an address if there were one.
func (r *Reconciler) Pending() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]types.NamespacedName, 0, len(r.pending))
	for key := range r.pending {
		keys = append(keys, key)
	}
	return keys
}

// Waiting counts the Services that lack an address.
func (r *Reconciler) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, what := range r.pending {
		if what == lacking {
			count++
		}
	}
	return count
}

// forget drops what is remembered of the Service that had the name before (now has the UID now, or none).
func (r *Reconciler) forget(key types.NamespacedName, now types.UID) {
	r.mu.Lock()
	before, had := r.known[key]
	if r.known == nil {
		r.known = map[types.NamespacedName]types.UID{}
	}
	if now == "" {
		delete(r.known, key)
		delete(r.pending, key)
	} else {
		r.known[key] = now
	}
	gone := had && before != now
	if gone {
		delete(r.written, before)
	}
	r.mu.Unlock()
	if gone {
		r.Ledger.Unreserve(before)
		r.Ledger.Undeclare(before)
		r.Teller.Forget(before)
		r.Statuses.Written.Forget(before)
	}
}

// Reservations says how the Services of ours share, and keeps the addresses that they show in their status though no VIP records
// them: they come first at a start, before any new Service.
func (r *Reconciler) Reservations(services []corev1.Service) {
	for i := range services {
		service := &services[i]
		if !r.Class.Wants(service) {
			continue
		}
		taker := takerOf(service)
		r.Ledger.Declare(taker)
		has := r.addressesOf(service)
		addrs := slices.DeleteFunc(ledger.IngressAddresses(service), func(a netip.Addr) bool { return slices.Contains(has, a) })
		if len(addrs) > 0 {
			r.Ledger.Reserve(taker, addrs)
		}
	}
}

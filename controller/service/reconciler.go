package service

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
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
	"evenkeel.io/evenkeel/controller/vip"
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
	pending map[types.NamespacedName]bool // Services of ours that wait for an address
	written map[types.UID]time.Time       // when an ingress was last written
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
		r.setPending(req.NamespacedName, false)
		r.Ledger.Unreserve(service.UID)
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
	key := client.ObjectKeyFromObject(service)
	w, invalid := parseWish(service)
	current := r.current(service, w)
	if invalid != nil {
		r.Teller.TellOnce(service, "wish", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Allocate", Note: invalid.Error()})
		if current == nil {
			r.setPending(key, true)
			return 0, r.waitingCondition(ctx, service, "InvalidRequest", invalid.Error())
		}
		return r.settle(ctx, service, w, current)
	}
	if w.sharing != "" {
		r.Teller.TellOnce(service, "sharing", serving.Event{Warning: true, Reason: "SharingUnsupported", Action: "Allocate",
			Note: w.sharing + " isn't supported yet: the Service gets an address of its own. Remove the annotation to silence this"})
	}
	if current != nil && w.metBy(current) {
		r.Teller.Settle(service.UID, "wish")
		return r.settle(ctx, service, w, current)
	}

	created, retryAt, err := r.allocate(ctx, service, w)
	if refused := refusal(err); refused != nil {
		r.Teller.TellOnce(service, "wish", serving.Event{Warning: true, Reason: string(refused.Reason), Action: "Allocate", Note: refused.Message})
		r.setPending(key, true)
		retry := r.until(retryAt)
		if current != nil { // it keeps what it has until it can have what it wants
			_, err := r.settle(ctx, service, w, current)
			return retry, err
		}
		return retry, r.waitingCondition(ctx, service, string(refused.Reason), refused.Message)
	}
	if err != nil {
		return 0, err
	}
	r.Ledger.Unreserve(service.UID)
	r.Teller.Settle(service.UID, "wish")
	return 0, r.announce(ctx, service, w, created)
}

// announce does what a new VIP needs, all at once: its placeholder, the ingress, an event, and the release of what the
// Service had before.
func (r *Reconciler) announce(ctx context.Context, service *corev1.Service, w wish, created *v1alpha1.VIP) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		pool, err := r.pool(ctx, created.Spec.Pool)
		if err != nil {
			return err
		}
		return r.Keeper.First(ctx, place.Subject{VIP: created, Service: service, Pool: pool})
	})
	group.Go(func() error {
		_, err := r.settle(ctx, service, w, created)
		return err
	})
	r.Teller.Tell(service, serving.Event{Reason: "Allocated", Action: "Allocate", Related: created,
		Note: fmt.Sprintf("Allocated %s from VIPPool %s", placeholder.FormatAddresses(ledger.Addresses(created)), created.Spec.Pool)})
	return group.Wait()
}

// settle makes the VIP's addresses the Service's ingress, has it weigh what the Service asks for, and releases its other VIPs.
func (r *Reconciler) settle(ctx context.Context, service *corev1.Service, w wish, current *v1alpha1.VIP) (time.Duration, error) {
	if w.metBy(current) {
		r.setPending(client.ObjectKeyFromObject(service), false)
	}
	if err := r.weigh(ctx, service, current); err != nil {
		return 0, err
	}
	retry, err := r.writeIngress(ctx, service, w.serves(ledger.Addresses(current)))
	if err != nil {
		return 0, err
	}
	for _, other := range r.Ledger.VIPsOf(service.UID) {
		if other.Name == current.Name || other.DeletionTimestamp != nil {
			continue
		}
		if _, err := vip.Release(ctx, r.Client, r.Ledger, other, r.Clock.Now()); err != nil {
			return 0, client.IgnoreNotFound(err)
		}
	}
	return retry, nil
}

func (r *Reconciler) writeIngress(ctx context.Context, service *corev1.Service, addrs []netip.Addr) (time.Duration, error) {
	if len(addrs) == 0 || isIngress(service, addrs) {
		return 0, nil
	}
	now := r.Clock.Now()
	r.mu.Lock()
	wait := correctionInterval - now.Sub(r.written[service.UID])
	r.mu.Unlock()
	if wait > 0 && len(service.Status.LoadBalancer.Ingress) > 0 {
		return wait, nil
	}
	wrote, err := r.Statuses.Patch(ctx, service, func(status *corev1.ServiceStatus) { serving.SetIngress(status, addrs) })
	if wrote {
		r.mu.Lock()
		if r.written == nil {
			r.written = map[types.UID]time.Time{}
		}
		r.written[service.UID] = now
		r.mu.Unlock()
	}
	return 0, err
}

func isIngress(service *corev1.Service, addrs []netip.Addr) bool {
	return slices.EqualFunc(service.Status.LoadBalancer.Ingress, addrs, func(in corev1.LoadBalancerIngress, addr netip.Addr) bool {
		return in.IP == addr.String() && in.Hostname == "" && in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeVIP && len(in.Ports) == 0
	})
}

// current is the VIP that the Service has: of several, one that is what it asks for, else one that its status shows.
func (r *Reconciler) current(service *corev1.Service, w wish) *v1alpha1.VIP {
	var best *v1alpha1.VIP
	rank := -1
	shown := ledger.IngressAddresses(service)
	for _, v := range r.Ledger.VIPsOf(service.UID) {
		if v.DeletionTimestamp != nil || v.Spec.ReleasedAt != nil {
			continue
		}
		score := 0
		if w.metBy(v) {
			score += 2
		}
		if slices.ContainsFunc(ledger.Addresses(v), func(a netip.Addr) bool { return slices.Contains(shown, a) }) {
			score++
		}
		if score > rank {
			best, rank = v, score
		}
	}
	return best
}

// waitingCondition says in the Service's status why it has no address.
func (r *Reconciler) waitingCondition(ctx context.Context, service *corev1.Service, reason, message string) error {
	_, err := r.Statuses.Patch(ctx, service, func(status *corev1.ServiceStatus) {
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

func (r *Reconciler) setPending(key types.NamespacedName, waits bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !waits {
		delete(r.pending, key)
		return
	}
	if r.pending == nil {
		r.pending = map[types.NamespacedName]bool{}
	}
	r.pending[key] = true
}

// Pending lists the Services that wait for an address.
func (r *Reconciler) Pending() []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]types.NamespacedName, 0, len(r.pending))
	for key := range r.pending {
		keys = append(keys, key)
	}
	return keys
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
		r.Teller.Forget(before)
		r.Statuses.Written.Forget(before)
	}
}

// Reservations keeps the addresses that Services of ours show in their status though no VIP records them: they come first at
// a start, before any new Service.
func (r *Reconciler) Reservations(services []corev1.Service) {
	for i := range services {
		service := &services[i]
		if !r.Class.Wants(service) || len(r.Ledger.VIPsOf(service.UID)) > 0 {
			continue
		}
		if addrs := ledger.IngressAddresses(service); len(addrs) > 0 {
			r.Ledger.Reserve(ledger.Taker{NamespacedName: client.ObjectKeyFromObject(service), UID: service.UID}, addrs)
		}
	}
}

package vip

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// Reconciler keeps one VIP at a time in order.
type Reconciler struct {
	Client   client.Client
	Reader   client.Reader // past the cache
	Clock    clock.PassiveClock
	Class    serving.Class
	Ledger   *ledger.Ledger
	Keeper   *place.Keeper
	Statuses serving.Statuses
	Teller   *serving.Teller
	// Endpoints of the Services, for those whose traffic policy is Local.
	Endpoints *fleet.Endpoints
	// Nodes are the cluster's; Suspects keeps VIPs off those that fell silent.
	Nodes    *fleet.Book
	Suspects Suspects
	Reports  *Reports
	// Pace of the moves that are not urgent.
	Pace *rate.Limiter

	mu      sync.Mutex
	waiting map[string]unannounced
	reasons map[string]string // of moves that no status tells of yet
	guests  map[string]bool   // names of VIPs that have placeholders, and no VIP object
}

// Suspects marks nodes; suspects.Reconciler is one.
type Suspects interface {
	Mark(ctx context.Context, node, reason string) error
}

// unannounced is since when a VIP has been announced by nobody for one reason.
type unannounced struct {
	since  time.Time
	reason string
}

// Reconcile brings a VIP's placeholders and status in line with its spec, its Service and its pool.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	select {
	case <-r.Ledger.Ready():
	case <-ctx.Done():
		return ctrl.Result{}, ctx.Err()
	}
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("vip", req.Name))
	vip := r.Ledger.VIP(req.Name)
	var retry time.Duration
	var err error
	switch {
	case vip == nil:
		r.stopWaiting(req.Name)
		r.forgetReason(req.Name)
		retry, err = r.handWritten(ctx, req.Name)
	case vip.DeletionTimestamp != nil:
		return ctrl.Result{}, nil // the garbage collector ends its placeholders
	default:
		r.remember(req.Name, false)
		retry, err = r.reconcile(ctx, vip)
	}
	if apierrors.IsConflict(err) {
		// Somebody wrote in between. The watch brings their state.
		klog.FromContext(ctx).V(4).Info("Wrote onto an older state", "err", err)
		return ctrl.Result{RequeueAfter: conflictDelay}, nil
	}
	return ctrl.Result{RequeueAfter: retry}, err
}

// conflictDelay is how long a watch may take to bring the state that a write collided with.
const conflictDelay = 100 * time.Millisecond

func (r *Reconciler) reconcile(ctx context.Context, vip *v1alpha1.VIP) (time.Duration, error) {
	services, gone, err := r.users(ctx, vip)
	if err != nil {
		return 0, err
	}
	if len(services) == 0 || vip.Spec.ReleasedAt != nil {
		r.stopWaiting(vip.Name)
		if vip.Spec.ReleasedAt == nil {
			if vip, err = Release(ctx, r.Client, r.Ledger, vip, r.Clock.Now()); err != nil {
				return 0, err
			}
		}
		return r.release(ctx, vip)
	}
	if len(gone) > 0 {
		if vip, err = Leave(ctx, r.Client, r.Ledger, vip, r.Clock.Now(), gone...); err != nil {
			return 0, err
		}
	}
	if vip, err = r.takeOrder(ctx, vip); err != nil {
		return 0, err
	}
	pool, err := r.pool(ctx, vip.Spec.Pool)
	if err != nil {
		return 0, err
	}
	subject := place.Subject{VIP: vip, Service: services[0], Sharers: services[1:], Pool: pool}
	turn, err := r.Keeper.Begin(ctx, subject)
	if err != nil {
		return 0, err
	}
	if turn == nil {
		return busyDelay, nil
	}
	defer turn.End()
	r.warnHandWritten(vip, turn.HandWritten)
	if wait := turn.Unseen(); wait > 0 {
		return wait, nil // the watch that shows it brings us back
	}
	if renewed, err := turn.Renew(ctx); renewed || err != nil {
		return 0, err // the watch that shows it brings us back
	}
	view, again := r.view(subject, turn.Places, r.Clock.Now())
	decision := failover.Decide(view)
	out, err := r.act(ctx, turn, subject, decision)
	if err != nil || out.changed {
		return out.retry, err
	}
	if err := turn.Tell(ctx, decision.NewTerm); err != nil {
		return 0, err
	}
	r.warnStandbys(subject, view)
	r.warnStranded(subject, view)
	r.warnWishes(subject, view)
	wait, err := r.report(ctx, vip, services, observe(vip, turn.Places, out).serving(view), view, turn.Places)
	if err == nil && decision.Ended != nil && decision.Ended.Done {
		err = r.endMove(ctx, subject, decision.Ended)
	}
	return sooner(sooner(wait, out.retry), again), err
}

// busyDelay is how long another reconciler is given to finish with a VIP.
const busyDelay = time.Second

// warnHandWritten tells the writers of pods whose addresses a VIP has.
func (r *Reconciler) warnHandWritten(vip *v1alpha1.VIP, pods []*corev1.Pod) {
	for _, pod := range pods {
		if pod.Spec.SchedulerName != placeholder.SchedulerName || place.IsGuard(pod) {
			continue
		}
		r.Teller.TellOnce(pod, "taken", serving.Event{Warning: true, Reason: "AddressTaken", Action: "Announce",
			Note: fmt.Sprintf("The address belongs to VIP %s of Service %s. Take another one: two placeholders would announce it", vip.Name, display(vip))})
	}
}

func (r *Reconciler) pool(ctx context.Context, name string) (*v1alpha1.VIPPool, error) {
	var pool v1alpha1.VIPPool
	err := r.Client.Get(ctx, types.NamespacedName{Name: name}, &pool)
	if apierrors.IsNotFound(err) {
		return nil, nil // allocations outlive their pool
	}
	if err != nil {
		return nil, fmt.Errorf("reading VIPPool %s: %w", name, err)
	}
	return r.Keeper.Usable(ctx, &pool)
}

// waitFor returns how much patience is left with a VIP that nobody announces. It begins anew with each reason: a placement
// goes through several.
func (r *Reconciler) waitFor(vip string, s state) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.Clock.Now()
	w, ok := r.waiting[vip]
	if !ok || w.reason != s.reason {
		if r.waiting == nil {
			r.waiting = map[string]unannounced{}
		}
		w = unannounced{since: now, reason: s.reason}
		r.waiting[vip] = w
	}
	return max(0, s.patience-now.Sub(w.since))
}

func (r *Reconciler) stopWaiting(vip string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, vip)
}

// sooner returns the shorter of two delays, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// reason returns why a VIP has moved, as far as that is known.
func (r *Reconciler) reason(vip string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reasons[vip]
}

func (r *Reconciler) forgetReason(vip string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reasons, vip)
}

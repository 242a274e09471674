package setup

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/rebalancer"
	"evenkeel.io/evenkeel/controller/service"
	"evenkeel.io/evenkeel/controller/standby"
	"evenkeel.io/evenkeel/controller/vip"
)

// feed opens the ledger once everything was listed.
type feed struct {
	ledger   *ledger.Ledger
	services *service.Reconciler
	cache    cache.Cache
	reader   client.Reader // past the cache
	synced   []toolscache.InformerSynced
}

var (
	_ manager.Runnable               = (*feed)(nil)
	_ manager.LeaderElectionRunnable = (*feed)(nil)
)

// followers are what is told of everything that the watches show.
type followers struct {
	book    *ledger.Ledger
	keeper  *place.Keeper
	nodes   *fleet.Book
	served  *fleet.Endpoints
	reports *vip.Reports
	spread  *standby.Spreader
	meter   *load.Meter // nil where nothing that is measured counts
	evener  *rebalancer.Rebalancer
}

// addFeed has the followers follow the watches from now on, leader or not, and opens the ledger when this process leads.
func addFeed(ctx context.Context, mgr manager.Manager, to followers, services *service.Reconciler) error {
	f := &feed{ledger: to.book, services: services, cache: mgr.GetCache(), reader: mgr.GetAPIReader()}
	err := errors.Join(
		follow(ctx, f, to.book.ObserveVIP, to.book.ForgetVIP),
		follow(ctx, f, to.book.ObservePool, func(pool *v1alpha1.VIPPool) { to.book.ForgetPool(pool.Name) }),
		follow(ctx, f, to.seenNode, to.goneNode),
		follow(ctx, f, to.seenVIPNode, to.goneVIPNode),
		follow(ctx, f, to.seenPod, to.gonePod),
		follow(ctx, f, to.seenEndpoints, to.goneEndpoints),
		follow(ctx, f, to.book.ObserveService, func(*corev1.Service) {}),
	)
	if to.meter != nil {
		err = errors.Join(err, follow(ctx, f, to.meter.Observe, func(traffic *v1alpha1.VIPNodeTraffic) { to.meter.Forget(traffic.Name) }))
	}
	if err != nil {
		return err
	}
	return mgr.Add(f)
}

func (to followers) seenNode(node *corev1.Node) {
	to.book.ObserveNode(node)
	to.nodes.ObserveNode(node)
}

func (to followers) goneNode(node *corev1.Node) {
	to.book.ForgetNode(node.Name)
	to.nodes.ForgetNode(node.Name)
}

func (to followers) seenVIPNode(node *v1alpha1.VIPNode) {
	to.book.ObserveVIPNode(node)
	to.nodes.ObserveVIPNode(node)
}

func (to followers) goneVIPNode(node *v1alpha1.VIPNode) {
	to.book.ForgetVIPNode(node.Name)
	to.nodes.ForgetVIPNode(node.Name)
}

func (to followers) seenEndpoints(slice *discoveryv1.EndpointSlice) {
	to.book.ObserveEndpoints(slice)
	to.served.Observe(slice)
}

func (to followers) goneEndpoints(slice *discoveryv1.EndpointSlice) {
	to.book.ForgetEndpoints(slice)
	to.served.Forget(slice)
}

func (to followers) seenPod(pod *corev1.Pod) {
	to.keeper.Observed(pod.Labels[placeholder.LabelVIP], pod.Name)
	to.book.ObservePod(pod)
	to.spread.Poke()
	to.evener.Poke()
}

func (to followers) gonePod(pod *corev1.Pod) {
	to.keeper.Observed(pod.Labels[placeholder.LabelVIP], pod.Name)
	to.book.ForgetPod(pod.Name)
	to.reports.Forget(pod.UID)
	to.spread.Poke()
	to.evener.Poke()
}

// object is a pointer to an API object.
type object[T any] interface {
	*T
	client.Object
}

// follow calls observe and forget for what the watch of a kind shows.
func follow[T any, P object[T]](ctx context.Context, f *feed, observe, forget func(P)) error {
	informer, err := f.cache.GetInformer(ctx, P(new(T)), cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching %T: %w", *new(T), err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { observe(obj.(P)) },
		UpdateFunc: func(_, obj any) { observe(obj.(P)) },
		DeleteFunc: func(obj any) {
			if unknown, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = unknown.Obj
			}
			forget(obj.(P))
		},
	})
	if err != nil {
		return fmt.Errorf("following %T: %w", *new(T), err)
	}
	f.synced = append(f.synced, registration.HasSynced)
	return nil
}

// NeedLeaderElection makes Start wait until this process leads.
func (f *feed) NeedLeaderElection() bool { return true }

// Start opens the ledger: when the watches have shown everything, when a read past them has brought what a leader before us
// allocated in its last moments, and when the addresses that Services show in their status are kept for them.
func (f *feed) Start(ctx context.Context) error {
	if !toolscache.WaitForCacheSync(ctx.Done(), f.synced...) {
		return nil // stopped
	}
	var vips v1alpha1.VIPList
	if err := f.reader.List(ctx, &vips); err != nil {
		return fmt.Errorf("listing VIPs before the first allocation: %w", err)
	}
	for i := range vips.Items {
		f.ledger.ObserveVIP(&vips.Items[i])
	}
	var services corev1.ServiceList
	if err := f.cache.List(ctx, &services); err != nil {
		return fmt.Errorf("listing Services before the first allocation: %w", err)
	}
	f.services.Reservations(services.Items)
	f.ledger.Open()
	klog.FromContext(ctx).Info("Allocating", "vips", len(vips.Items), "services", len(services.Items))
	return nil
}

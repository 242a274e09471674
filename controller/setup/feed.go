package setup

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/service"
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

// addFeed has the ledger follow the watches from now on, leader or not, and opens it when this process leads.
func addFeed(ctx context.Context, mgr manager.Manager, book *ledger.Ledger, keeper *place.Keeper, services *service.Reconciler) error {
	f := &feed{ledger: book, services: services, cache: mgr.GetCache(), reader: mgr.GetAPIReader()}
	seenPod := func(pod *corev1.Pod) { keeper.Observed(pod.Labels[placeholder.LabelVIP], pod.Name) }
	err := errors.Join(
		follow(ctx, f, book.ObserveVIP, book.ForgetVIP),
		follow(ctx, f, book.ObservePool, func(pool *v1alpha1.VIPPool) { book.ForgetPool(pool.Name) }),
		follow(ctx, f, book.ObserveNode, func(node *corev1.Node) { book.ForgetNode(node.Name) }),
		follow(ctx, f, book.ObserveVIPNode, func(node *v1alpha1.VIPNode) { book.ForgetVIPNode(node.Name) }),
		follow(ctx, f, func(pod *corev1.Pod) { seenPod(pod); book.ObservePod(pod) }, func(pod *corev1.Pod) { seenPod(pod); book.ForgetPod(pod.Name) }),
	)
	if err != nil {
		return err
	}
	return mgr.Add(f)
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

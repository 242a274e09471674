// Package setup wires the controller's parts to a manager.
package setup

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/metrics"
	"evenkeel.io/evenkeel/controller/nodenotes"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/pool"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalancer"
	"evenkeel.io/evenkeel/controller/service"
	"evenkeel.io/evenkeel/controller/serving"
	"evenkeel.io/evenkeel/controller/standby"
	"evenkeel.io/evenkeel/controller/suspects"
	"evenkeel.io/evenkeel/controller/vip"
	"evenkeel.io/evenkeel/controller/written"
)

// Options of the controller.
type Options struct {
	Class serving.Class
	Look  place.Look
	// Quarantine is how long a released address stays taken: the announcers' address lifetime plus their linger.
	Quarantine time.Duration
	// Workers per kind of object.
	Workers int
	// Nodes says which nodes may announce beside what their announcers tell.
	Nodes fleet.Options
	// Measure is the scheduler's: standbys are spread by it.
	Measure load.Measure
	// Rebalance is what pools' policies leave open. Without a mode: policy.Default().
	Rebalance policy.Policy
	// Health of the API server, as the manager's own requests show it.
	Health vip.Health
}

// Moves that are not urgent: so many a second, so many at once.
const (
	movesPerSecond = 5
	movesAtOnce    = 5
)

// Scheme knows the objects that are used.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// CacheOptions restricts the cache to what the controller may read: pods of its own namespace, and nothing of what it never looks at.
func CacheOptions(namespace string) cache.Options {
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}:  {Namespaces: map[string]cache.Config{namespace: {}}},
			&corev1.Node{}: {Transform: essentials},
			// Those of headless Services, which have no VIP, don't even come over the wire.
			&discoveryv1.EndpointSlice{}: {Transform: essentials, Label: servedSlices()},
		},
	}
}

// servedSlices leaves out EndpointSlices that can be of no LoadBalancer Service, by the label that Kubernetes' own controller gives
// them and that kube-proxy goes by too.
func servedSlices() labels.Selector {
	headless, err := labels.NewRequirement(corev1.IsHeadlessService, selection.DoesNotExist, nil)
	utilruntime.Must(err)
	return labels.NewSelector().Add(*headless)
}

// essentials keeps of a node what is read, as image lists make up most of its size, and of an EndpointSlice where there are endpoints.
func essentials(obj any) (any, error) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
		endpoints.Strip(slice)
	}
	if node, ok := obj.(*corev1.Node); ok {
		annotations := map[string]string{}
		for _, key := range []string{placeholder.AnnotationCapacity, placeholder.AnnotationMaxVIPs} {
			if value, ok := node.Annotations[key]; ok {
				annotations[key] = value
			}
		}
		node.ManagedFields, node.Annotations = nil, annotations
		status := corev1.NodeStatus{Addresses: node.Status.Addresses}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				status.Conditions = append(status.Conditions, c)
			}
		}
		node.Status = status
	}
	return obj, nil
}

// Add adds the controllers to a manager.
func Add(ctx context.Context, mgr manager.Manager, o Options) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, place.IndexVIP, place.IndexFunc); err != nil {
		return fmt.Errorf("indexing placeholders: %w", err)
	}
	now := clock.RealClock{}
	var (
		book     = ledger.New(now, o.Quarantine)
		keeper   = place.NewKeeper(mgr.GetClient(), mgr.GetAPIReader(), now, o.Look)
		statuses = serving.Statuses{Client: mgr.GetClient(), Written: written.New()}
		teller   = serving.NewTeller(mgr.GetEventRecorder("evenkeel-controller"))
		nodes    = fleet.NewBook(o.Nodes)
		served   = fleet.NewEndpoints()
		suspect  = &suspects.Reconciler{Client: mgr.GetClient(), Clock: now, Teller: teller}
		reports  = &vip.Reports{Health: o.Health}
		notes    = &nodenotes.Reconciler{Client: mgr.GetClient(), Teller: teller}
		meter    *load.Meter
	)
	if o.Measure.Measured() {
		meter = load.NewMeter()
	}
	services := &service.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Clock: now, Class: o.Class,
		Ledger: book, Keeper: keeper, Statuses: statuses, Teller: teller,
	}
	vips := &vip.Reconciler{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Clock: now, Class: o.Class,
		Ledger: book, Keeper: keeper, Statuses: statuses, Teller: teller,
		Endpoints: served, Nodes: nodes, Suspects: suspect, Reports: reports, Pace: rate.NewLimiter(movesPerSecond, movesAtOnce),
	}
	spreader := standby.New(standby.Spreader{
		Client: mgr.GetClient(), Clock: now, Namespace: o.Look.Namespace, Nodes: nodes, Measure: o.Measure, Meter: meter, Demand: vips.Demand,
	})
	nodes.OnChange(spreader.Poke)
	if o.Rebalance.Mode == "" {
		o.Rebalance = policy.Default()
	}
	evener := rebalancer.New(rebalancer.Config{
		Client: mgr.GetClient(), Clock: now, Namespace: o.Look.Namespace, Nodes: nodes, Ledger: book, Teller: teller,
		Demand: vips.Demand, Defaults: o.Rebalance, Traffic: mgr.GetAPIReader(),
	})
	nodes.OnChange(evener.Poke)
	book.OnChange(func(ledger.Change) { evener.Poke() })
	pools := &pool.Reconciler{Client: mgr.GetClient(), Clock: now, Ledger: book, Written: written.New(), Patches: keeper, Teller: teller}

	for _, add := range []func() error{
		func() error { return addServices(mgr, o, book, services) },
		func() error { return addVIPs(mgr, o, book, nodes, served, vips) },
		func() error { return addSuspects(mgr, nodes, suspect) },
		func() error { return addPools(mgr, book, pools) },
		func() error { return addNodeNotes(mgr, notes) },
		func() error { return mgr.Add(spreader) },
		func() error { return mgr.Add(evener) },
		func() error {
			return ctrlmetrics.Registry.Register(rebalancer.Collector{Rebalancer: evener, Elected: mgr.Elected()})
		},
		func() error {
			return addFeed(ctx, mgr, followers{book, keeper, nodes, served, reports, spreader, meter, evener}, services)
		},
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return ctrlmetrics.Registry.Register(&metrics.Collector{
		Reader: mgr.GetCache(), Namespace: o.Look.Namespace, Ledger: book, Elected: mgr.Elected(),
		Waiting: services.Waiting,
	})
}

func addServices(mgr manager.Manager, o Options, book *ledger.Ledger, r *service.Reconciler) error {
	queue := &wake{}
	book.OnChange(func(change ledger.Change) {
		for _, key := range change.Services {
			queue.add(reconcile.Request{NamespacedName: key})
		}
		if change.Freed {
			for _, key := range r.Pending() {
				queue.add(reconcile.Request{NamespacedName: key})
			}
		}
	})
	pending := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, key := range r.Pending() {
			requests = append(requests, reconcile.Request{NamespacedName: key})
		}
		return requests
	})
	err := ctrl.NewControllerManagedBy(mgr).Named("service").
		For(&corev1.Service{}).
		Watches(&corev1.Namespace{}, pending, builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(queue.source(nil)).
		WithOptions(options(o.Workers)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the Service controller: %w", err)
	}
	return nil
}

func addVIPs(mgr manager.Manager, o Options, book *ledger.Ledger, nodes *fleet.Book, served *fleet.Endpoints, r *vip.Reconciler) error {
	queue := &wake{}
	all := func() []reconcile.Request {
		var requests []reconcile.Request
		for _, vip := range book.VIPs() {
			requests = append(requests, named(vip.Name))
		}
		for _, name := range r.HandWritten() {
			requests = append(requests, named(name))
		}
		return requests
	}
	nodes.OnChange(func() { // any VIP may have to leave the node, or may now be guarded from it
		for _, request := range all() {
			queue.add(request)
		}
	})
	served.OnChange(func(service types.NamespacedName) { // no wait in between: connections are being refused, or soon will be
		for _, vip := range book.VIPs() {
			if uses(vip, service) {
				queue.add(named(vip.Name))
			}
		}
	})
	// The ledger is the source of VIPs, not a watch beside it: who is woken finds the ledger up to date.
	book.OnChange(func(change ledger.Change) {
		if change.VIP != "" {
			queue.add(named(change.VIP))
		}
	})
	ofPod := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, name := range place.IndexFunc(obj) {
			requests = append(requests, named(name))
		}
		return requests
	})
	ofService := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, vip := range book.VIPsOf(obj.GetUID()) {
			requests = append(requests, named(vip.Name))
		}
		return requests
	})
	ofPool := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, vip := range book.VIPs() {
			if vip.Spec.Pool == obj.GetName() {
				requests = append(requests, named(vip.Name))
			}
		}
		return requests
	})
	err := ctrl.NewControllerManagedBy(mgr).Named("vip").
		WatchesRawSource(queue.source(all)).
		Watches(&corev1.Pod{}, ofPod).
		Watches(&corev1.Service{}, ofService).
		Watches(&v1alpha1.VIPPool{}, ofPool, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WithOptions(options(o.Workers)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the VIP controller: %w", err)
	}
	return nil
}

// uses says whether a VIP belongs to a Service.
func uses(vip *v1alpha1.VIP, service types.NamespacedName) bool {
	return slices.ContainsFunc(vip.Spec.Services, func(ref v1alpha1.ServiceReference) bool {
		return ref.Namespace == service.Namespace && ref.Name == service.Name
	})
}

func addSuspects(mgr manager.Manager, nodes *fleet.Book, r *suspects.Reconciler) error {
	// One node's change may change who its neighbours are.
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		var requests []reconcile.Request
		for _, name := range nodes.VIPNodes() {
			requests = append(requests, named(name))
		}
		return requests
	})
	err := ctrl.NewControllerManagedBy(mgr).Named("vipnode").
		Watches(&v1alpha1.VIPNode{}, all).
		Watches(&v1alpha1.VIPNode{}, &handler.EnqueueRequestForObject{}).
		WithOptions(options(1)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the VIPNode controller: %w", err)
	}
	return nil
}

func addNodeNotes(mgr manager.Manager, r *nodenotes.Reconciler) error {
	err := ctrl.NewControllerManagedBy(mgr).Named("node").
		For(&corev1.Node{}, builder.WithPredicates(predicate.AnnotationChangedPredicate{})).
		Watches(&v1alpha1.VIPNode{}, &handler.EnqueueRequestForObject{}).
		WithOptions(options(1)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the Node controller: %w", err)
	}
	return nil
}

func addPools(mgr manager.Manager, book *ledger.Ledger, r *pool.Reconciler) error {
	queue := &wake{}
	all := func(ctx context.Context) []reconcile.Request {
		var pools v1alpha1.VIPPoolList
		if err := mgr.GetCache().List(ctx, &pools); err != nil {
			return nil // only before the cache has started, and then every pool comes by its own watch
		}
		var requests []reconcile.Request
		for i := range pools.Items {
			requests = append(requests, named(pools.Items[i].Name))
		}
		return requests
	}
	book.OnChange(func(ledger.Change) {
		if !queue.open() {
			return
		}
		for _, request := range all(context.Background()) { // a cache read
			queue.addAfter(request, pool.Debounce)
		}
	})
	// One pool's change is another one's overlap.
	others := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request { return all(ctx) })
	err := ctrl.NewControllerManagedBy(mgr).Named("vippool").
		Watches(&v1alpha1.VIPPool{}, others, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.VIPPool{}, &handler.EnqueueRequestForObject{}).
		WatchesRawSource(queue.source(nil)).
		WithOptions(options(1)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("adding the VIPPool controller: %w", err)
	}
	return nil
}

// options: one item's errors never slow down the others', and never stop being retried within half a minute.
func options(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, 30*time.Second),
	}
}

func named(name string) reconcile.Request {
	var r reconcile.Request
	r.Name = name
	return r
}

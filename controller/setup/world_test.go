package setup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/pool"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/rebalancer"
	"evenkeel.io/evenkeel/controller/service"
	"evenkeel.io/evenkeel/controller/serving"
	"evenkeel.io/evenkeel/controller/suspects"
	"evenkeel.io/evenkeel/controller/vip"
	"evenkeel.io/evenkeel/controller/written"
)

const ns = placeholder.DefaultNamespace

// world is a cluster in memory with the reconcilers, whose turns and clock the test takes by hand.
type world struct {
	t        *testing.T
	ctx      context.Context
	c        client.Client
	clock    *testclock.FakeClock
	book     *ledger.Ledger
	keeper   *place.Keeper
	services *service.Reconciler
	vips     *vip.Reconciler
	pools    *pool.Reconciler
	suspects *suspects.Reconciler
	evener   *rebalancer.Rebalancer
	nodes    *fleet.Book
	served   *fleet.Endpoints
	slices   map[string]discoveryv1.EndpointSlice
	health   *health
	recorder *events.FakeRecorder
	known    map[string]*v1alpha1.VIP
	pods     map[string]bool
	mu       sync.Mutex // a Service's placeholder and ingress are written side by side
	writes   []string
	refuse   func(verb string, obj client.Object) error
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), clock: testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), recorder: events.NewFakeRecorder(10000)}
	uids := 0
	w.c = fake.NewClientBuilder().WithScheme(Scheme()).WithGlobalResourceVersionCounter().
		WithStatusSubresource(&v1alpha1.VIP{}, &v1alpha1.VIPPool{}, &v1alpha1.VIPNode{}, &corev1.Service{}, &corev1.Pod{}).
		WithIndex(&corev1.Pod{}, place.IndexVIP, place.IndexFunc).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
				if err := w.write("create", obj); err != nil {
					return err
				}
				uids++
				obj.SetUID(types.UID(fmt.Sprintf("uid-%d", uids)))
				obj.SetCreationTimestamp(metav1.NewTime(w.clock.Now()))
				return c.Create(ctx, obj, opts...)
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				if err := w.write("delete", obj); err != nil {
					return err
				}
				return c.Delete(ctx, obj, opts...)
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				if err := w.write("patch", obj); err != nil {
					return err
				}
				return c.Patch(ctx, obj, patch, opts...)
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				if err := w.write("patch "+sub+" of", obj); err != nil {
					return err
				}
				return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
			},
		}).Build()
	for _, obj := range objects {
		w.create(obj)
	}
	w.restart()
	return w
}

func (w *world) write(verb string, obj client.Object) error {
	if w.refuse != nil {
		if err := w.refuse(verb, obj); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, fmt.Sprintf("%s %s %s", verb, strings.TrimPrefix(fmt.Sprintf("%T", obj), "*"), obj.GetName()))
	return nil
}

// health is an API server that is as slow as a test says.
type health struct {
	slowest time.Duration
	trouble time.Time
}

func (h *health) Slowest() time.Duration { return h.slowest }
func (h *health) Trouble() time.Time     { return h.trouble }

// restart begins with a controller that remembers nothing, and lists everything before its first allocation.
func (w *world) restart() {
	w.book = ledger.New(w.clock, 16*time.Second)
	w.keeper = place.NewKeeper(w.c, w.c, w.clock, place.Look{Namespace: ns, Image: "pause"})
	class := serving.Class{Name: placeholder.DefaultLoadBalancerClass}
	statuses := serving.Statuses{Client: w.c, Written: written.New()}
	teller := serving.NewTeller(w.recorder)
	w.services = &service.Reconciler{Client: w.c, Reader: w.c, Clock: w.clock, Class: class, Ledger: w.book, Keeper: w.keeper, Statuses: statuses, Teller: teller}
	w.suspects = &suspects.Reconciler{Client: w.c, Clock: w.clock, Teller: teller}
	w.nodes = fleet.NewBook(fleet.Options{})
	w.served, w.slices = fleet.NewEndpoints(), map[string]discoveryv1.EndpointSlice{}
	w.health = &health{}
	w.vips = &vip.Reconciler{
		Client: w.c, Reader: w.c, Clock: w.clock, Class: class, Ledger: w.book, Keeper: w.keeper, Statuses: statuses, Teller: teller,
		Endpoints: w.served, Nodes: w.nodes, Suspects: w.suspects, Reports: &vip.Reports{Health: w.health}, Pace: rate.NewLimiter(5, 5),
	}
	w.pools = &pool.Reconciler{Client: w.c, Clock: w.clock, Ledger: w.book, Written: written.New(), Patches: w.keeper, Teller: teller}
	w.evener = rebalancer.New(rebalancer.Config{
		Client: w.c, Clock: w.clock, Namespace: ns, Nodes: w.nodes, Ledger: w.book, Teller: teller, Demand: w.vips.Demand, Defaults: policy.Default(), Traffic: w.c,
	})
	w.known, w.pods = map[string]*v1alpha1.VIP{}, map[string]bool{}
	w.watch()
	var services corev1.ServiceList
	w.list(&services)
	w.services.Reservations(services.Items)
	w.book.Open()
}

// watch shows the ledger what there is now, as the informers would.
func (w *world) watch() {
	var vips v1alpha1.VIPList
	var pods corev1.PodList
	var pools v1alpha1.VIPPoolList
	var nodes v1alpha1.VIPNodeList
	w.list(&vips)
	w.list(&pods)
	w.list(&pools)
	w.list(&nodes)
	now := map[string]*v1alpha1.VIP{}
	for i := range vips.Items {
		now[vips.Items[i].Name] = &vips.Items[i]
	}
	for name, known := range w.known {
		if now[name] == nil || now[name].UID != known.UID {
			w.book.ForgetVIP(known)
		}
	}
	for _, v := range now {
		w.book.ObserveVIP(v)
	}
	w.known = now
	there := map[string]bool{}
	for i := range pods.Items {
		there[pods.Items[i].Name] = true
		w.keeper.Observed(pods.Items[i].Labels[placeholder.LabelVIP], pods.Items[i].Name)
		w.book.ObservePod(&pods.Items[i])
	}
	for name := range w.pods {
		if !there[name] {
			w.book.ForgetPod(name)
		}
	}
	w.pods = there
	for i := range pools.Items {
		w.book.ObservePool(&pools.Items[i])
	}
	w.watchEndpoints()
	var endpoints discoveryv1.EndpointSliceList
	w.list(&endpoints)
	for i := range endpoints.Items {
		w.book.ObserveEndpoints(&endpoints.Items[i])
	}
	var services corev1.ServiceList
	w.list(&services)
	for i := range services.Items {
		w.book.ObserveService(&services.Items[i])
	}
	var kubeNodes corev1.NodeList
	w.list(&kubeNodes)
	for i := range nodes.Items {
		w.book.ObserveVIPNode(&nodes.Items[i])
		w.nodes.ObserveVIPNode(&nodes.Items[i])
	}
	for i := range kubeNodes.Items {
		w.nodes.ObserveNode(&kubeNodes.Items[i])
	}
}

// settle reconciles everything until nothing is written any more. It fails where that doesn't come to an end.
func (w *world) settle() {
	w.t.Helper()
	for range 20 {
		before := len(w.writes)
		w.watch()
		var services corev1.ServiceList
		w.list(&services)
		for i := range services.Items {
			w.reconcile(w.services, services.Items[i].Namespace, services.Items[i].Name)
		}
		w.watch()
		for _, v := range w.book.VIPs() {
			w.reconcile(w.vips, "", v.Name)
		}
		for _, name := range w.withoutVIP() {
			w.reconcile(w.vips, "", name)
		}
		for _, name := range w.nodes.VIPNodes() {
			w.reconcile(w.suspects, "", name)
		}
		w.watch()
		var pools v1alpha1.VIPPoolList
		w.list(&pools)
		for i := range pools.Items {
			w.reconcile(w.pools, "", pools.Items[i].Name)
		}
		if len(w.writes) == before {
			return
		}
	}
	w.t.Fatalf("20 rounds and still writing: %v", w.writes[max(0, len(w.writes)-8):])
}

// withoutVIP names the VIPs that only pods speak of.
func (w *world) withoutVIP() []string {
	var pods corev1.PodList
	w.list(&pods)
	names := map[string]bool{}
	for i := range pods.Items {
		if name := pods.Items[i].Labels[placeholder.LabelVIP]; name != "" && w.book.VIP(name) == nil {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (w *world) reconcile(r interface {
	Reconcile(context.Context, ctrl.Request) (ctrl.Result, error)
}, namespace, name string) ctrl.Result {
	w.t.Helper()
	result, err := r.Reconcile(w.ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
	if err != nil {
		w.t.Fatalf("reconciling %s/%s: %v", namespace, name, err)
	}
	return result
}

// pass lets time pass and then settles.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	w.clock.Step(d)
	w.settle()
}

func (w *world) create(obj client.Object) {
	w.t.Helper()
	if err := w.c.Create(w.ctx, obj); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(list client.ObjectList) {
	w.t.Helper()
	if err := w.c.List(w.ctx, list); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) service(name string) *corev1.Service {
	w.t.Helper()
	var s corev1.Service
	if err := w.c.Get(w.ctx, types.NamespacedName{Namespace: "default", Name: name}, &s); err != nil {
		w.t.Fatal(err)
	}
	return &s
}

func (w *world) vip(name string) *v1alpha1.VIP {
	w.t.Helper()
	var v v1alpha1.VIP
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: name}, &v); err != nil {
		w.t.Fatal(err)
	}
	return &v
}

func (w *world) pod(name string) *corev1.Pod {
	w.t.Helper()
	var p corev1.Pod
	if err := w.c.Get(w.ctx, types.NamespacedName{Namespace: ns, Name: name}, &p); err != nil {
		w.t.Fatal(err)
	}
	return &p
}

func (w *world) delete(obj client.Object) {
	w.t.Helper()
	if err := w.c.Delete(w.ctx, obj); err != nil {
		w.t.Fatal(err)
	}
}

// change updates an object, its status too.
func change[T client.Object](w *world, obj T, f func(T)) {
	w.t.Helper()
	f(obj)
	status := obj.DeepCopyObject().(T)
	if err := w.c.Update(w.ctx, obj); err != nil {
		w.t.Fatal(err)
	}
	status.SetResourceVersion(obj.GetResourceVersion())
	if err := w.c.Status().Update(w.ctx, status); client.IgnoreNotFound(err) != nil { // it may have lost its last finalizer
		w.t.Fatal(err)
	}
}

// announce plays scheduler and announcer.
func (w *world) announce(pod, node string) {
	w.t.Helper()
	change(w, w.pod(pod), func(p *corev1.Pod) {
		p.Spec.NodeName = node
		p.Status.Phase = corev1.PodRunning
		setCondition(p, placeholder.ConditionReady, corev1.ConditionTrue, placeholder.ReasonAnnouncing, "")
		setCondition(p, placeholder.ConditionAnnounced, corev1.ConditionTrue, placeholder.ReasonAnnouncing, "")
	})
}

func setCondition(p *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			p.Status.Conditions[i].Status, p.Status.Conditions[i].Reason, p.Status.Conditions[i].Message = status, reason, message
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, Reason: reason, Message: message})
}

func (w *world) ingress(name string) string {
	w.t.Helper()
	var ips []string
	for _, in := range w.service(name).Status.LoadBalancer.Ingress {
		ips = append(ips, in.IP)
	}
	return strings.Join(ips, ",")
}

// told empties the recorder and returns what it held.
func (w *world) told() string {
	var all []string
	for {
		select {
		case event := <-w.recorder.Events:
			all = append(all, event)
		default:
			return strings.Join(all, "\n")
		}
	}
}

func (w *world) wants(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (w *world) wantsTold(what string) {
	w.t.Helper()
	if got := w.told(); !strings.Contains(got, what) {
		w.t.Errorf("no event says %q; events:\n%s", what, got)
	}
}

func (w *world) gone(obj client.Object, name string) {
	w.t.Helper()
	key := types.NamespacedName{Name: name}
	if _, ok := obj.(*corev1.Pod); ok {
		key.Namespace = ns
	}
	if err := w.c.Get(w.ctx, key, obj); client.IgnoreNotFound(err) != nil || err == nil {
		w.t.Errorf("%T %s is still there (%v)", obj, name, err)
	}
}

func aPool(name string, addresses ...string) *v1alpha1.VIPPool {
	return &v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.VIPPoolSpec{Addresses: addresses}}
}

func aService(name string, changes ...func(*corev1.Service)) *corev1.Service {
	class := placeholder.DefaultLoadBalancerClass
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{}}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: &class, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyCluster,
		IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	for _, change := range changes {
		change(s)
	}
	return s
}

func annotated(key, value string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations = map[string]string{key: value} }
}

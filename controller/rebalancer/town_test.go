package rebalancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	testclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
	"evenkeel.io/evenkeel/controller/serving"
)

const ns = placeholder.DefaultNamespace

// town is an API server with nodes and VIPs, a stand-in for package vip, which carries moves out, and a Rebalancer whose turns and clock
// the test takes by hand.
type town struct {
	t        *testing.T
	c        client.Client
	clock    *testclock.FakeClock
	r        *Rebalancer
	ledger   *ledger.Ledger
	recorder *events.FakeRecorder
	// writes that the Rebalancer made; those of the town itself don't count.
	writes []string
	own    bool
	// die, where set, ends the process at its next write: before the API server has it, or after.
	die func() (before, after bool)
	// refuses are nodes that don't take VIPs, though they look as if they would. crowd is how many moves were under way at most.
	refuses map[string]bool
	crowd   int
	begun   []begun
}

// begun is a move that was asked for.
type begun struct {
	vip, to string
	at      time.Time
}

var errDied = errors.New("the process died")

// aTown has a pool "main" and so many of its VIPs on each of nodes that have been there for a day.
func aTown(t *testing.T, p *v1alpha1.RebalancePolicy, counts ...int) *town {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	w := &town{
		t: t, clock: testclock.NewFakeClock(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)), recorder: events.NewFakeRecorder(1000), refuses: map[string]bool{},
	}
	w.c = fake.NewClientBuilder().WithScheme(scheme).WithGlobalResourceVersionCounter().
		WithStatusSubresource(&v1alpha1.VIP{}, &v1alpha1.VIPPool{}, &v1alpha1.VIPNode{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				return w.write(obj, "patch", func() error { return c.Patch(ctx, obj, patch, opts...) })
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				return w.write(obj, "patch "+sub+" of", func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
			},
		}).Build()
	w.own = true
	w.create(&v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.VIPPoolSpec{Rebalance: p}})
	for i, count := range counts {
		w.join(i+1, 24*time.Hour)
		for range count {
			w.vip("main", fmt.Sprintf("n%d", i+1))
		}
	}
	w.own = false
	w.restart()
	return w
}

func (w *town) write(obj client.Object, verb string, do func() error) error {
	if w.own {
		return do()
	}
	before, after := false, false
	if w.die != nil {
		before, after = w.die()
	}
	if before {
		return errDied
	}
	w.writes = append(w.writes, fmt.Sprintf("%s %s", verb, obj.GetName()))
	if err := do(); err != nil {
		return err
	}
	if vip, ok := obj.(*v1alpha1.VIP); ok && vip.Spec.Move != nil {
		w.begun = append(w.begun, begun{vip.Name, vip.Spec.Move.To, w.clock.Now()})
	}
	if after {
		return errDied
	}
	return nil
}

func (w *town) join(number int, since time.Duration) {
	object := metav1.ObjectMeta{Name: fmt.Sprintf("n%d", number), CreationTimestamp: metav1.NewTime(w.clock.Now().Add(-since))}
	w.create(&corev1.Node{ObjectMeta: object})
	w.create(&v1alpha1.VIPNode{ObjectMeta: object, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
		{Name: "eth0", MAC: fmt.Sprintf("02:00:00:00:00:%02x", number), Addresses: []string{fmt.Sprintf("10.0.255.%d/16", number)}, Carrier: true},
	}}})
}

// vip adds one that a node announces, of Service default/NAME.
func (w *town) vip(pool, node string) string {
	var vips v1alpha1.VIPList
	w.list(&vips)
	number := len(vips.Items) + 1
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(number)})
	name := placeholder.VIPName(addr)
	w.create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}})
	vip := &v1alpha1.VIP{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("vip-" + name)},
		Spec: v1alpha1.VIPSpec{Pool: pool, Addresses: []string{addr.String()}, Services: []v1alpha1.ServiceReference{
			{Namespace: "default", Name: name, UID: types.UID(name)}}},
		Status: v1alpha1.VIPStatus{Node: node},
	}
	w.create(vip)
	w.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: name + "-1", Labels: map[string]string{placeholder.LabelVIP: name, placeholder.LabelRole: string(placeholder.Active)},
			Annotations: map[string]string{placeholder.AnnotationAddresses: addr.String()},
		},
		Spec: corev1.PodSpec{NodeName: node, SchedulerName: placeholder.SchedulerName},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: placeholder.ConditionAnnounced, Status: corev1.ConditionTrue, Reason: placeholder.ReasonAnnouncing},
		}},
	})
	return name
}

func (w *town) create(obj client.Object) {
	w.t.Helper()
	if err := w.c.Create(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) list(list client.ObjectList) {
	w.t.Helper()
	if err := w.c.List(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) get(name string, obj client.Object) {
	w.t.Helper()
	key := types.NamespacedName{Name: name}
	switch obj.(type) {
	case *corev1.Pod:
		key.Namespace = ns
	case *corev1.Service:
		key.Namespace = "default"
	}
	if err := w.c.Get(w.t.Context(), key, obj); err != nil {
		w.t.Fatal(err)
	}
}

// change updates an object, its status too.
func change[T client.Object](w *town, name string, obj T, f func(T)) {
	w.t.Helper()
	w.get(name, obj)
	f(obj)
	status := obj.DeepCopyObject().(T)
	if err := w.c.Update(w.t.Context(), obj); err != nil {
		w.t.Fatal(err)
	}
	status.SetResourceVersion(obj.GetResourceVersion())
	if err := w.c.Status().Update(w.t.Context(), status); client.IgnoreNotFound(err) != nil {
		w.t.Fatal(err)
	}
}

// restart begins with a controller that remembers nothing.
func (w *town) restart() {
	w.ledger = ledger.New(w.clock, 16*time.Second)
	w.r = New(Config{
		Client: w.c, Clock: w.clock, Namespace: ns, Nodes: fleet.NewBook(fleet.Options{}), Ledger: w.ledger, Teller: serving.NewTeller(w.recorder),
		Defaults: policy.Default(), Traffic: w.c,
		Demand: func(_ context.Context, name string) (fleet.Demand, bool) {
			vip := w.ledger.VIP(name)
			if vip == nil {
				return fleet.Demand{}, false
			}
			return fleet.Demand{Addresses: ledger.Addresses(vip)}, true
		},
	})
	w.watch()
}

// watch shows the controller what there is now, as the informers would.
func (w *town) watch() {
	w.t.Helper()
	var vips v1alpha1.VIPList
	var nodes corev1.NodeList
	var vipNodes v1alpha1.VIPNodeList
	w.list(&vips)
	w.list(&nodes)
	w.list(&vipNodes)
	for i := range vips.Items {
		w.ledger.ObserveVIP(&vips.Items[i])
	}
	for i := range nodes.Items {
		w.r.Nodes.ObserveNode(&nodes.Items[i])
	}
	for i := range vipNodes.Items {
		w.r.Nodes.ObserveVIPNode(&vipNodes.Items[i])
	}
}

// turn is one of the Rebalancer's. The process starts anew where it dies.
func (w *town) turn() time.Duration {
	w.t.Helper()
	w.watch()
	again, err := w.r.Turn(w.t.Context())
	switch {
	case errors.Is(err, errDied):
		w.restart()
	case err != nil:
		w.t.Fatal(err)
	}
	return again
}

// carry does what package vip does about wishes for moves: within the second, or it gives up.
func (w *town) carry() {
	w.t.Helper()
	var vips v1alpha1.VIPList
	w.list(&vips)
	moving := 0
	for i := range vips.Items {
		move := vips.Items[i].Spec.Move
		if move == nil {
			continue
		}
		moving++
		name := vips.Items[i].Name
		if !w.refuses[move.To] {
			change(w, name+"-1", &corev1.Pod{}, func(pod *corev1.Pod) { pod.Spec.NodeName = move.To })
		}
		change(w, name, &v1alpha1.VIP{}, func(vip *v1alpha1.VIP) {
			vip.Spec.Move = nil
			if !w.refuses[move.To] {
				vip.Status.LastMove = &v1alpha1.VIPMove{From: vip.Status.Node, To: move.To, Reason: move.Reason, Time: metav1.NewTime(w.clock.Now())}
				vip.Status.Node = move.To
			}
		})
	}
	w.crowd = max(w.crowd, moving)
}

// pass lets time pass, with a turn and a move each second, or 100 of them in what is longer.
func (w *town) pass(d time.Duration) {
	w.t.Helper()
	step := max(time.Second, d/100)
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); w.clock.Step(step) {
		w.turn()
		w.turn() // a write of ours is a change, too
		w.carry()
	}
}

// counts are how many VIPs the nodes announce, in order of their names.
func (w *town) counts() string {
	w.t.Helper()
	var vips v1alpha1.VIPList
	var nodes corev1.NodeList
	w.list(&vips)
	w.list(&nodes)
	var texts []string
	for i := range nodes.Items {
		n := 0
		for j := range vips.Items {
			if vips.Items[j].Status.Node == nodes.Items[i].Name {
				n++
			}
		}
		texts = append(texts, fmt.Sprint(n))
	}
	return strings.Join(texts, " ")
}

func (w *town) wants(what string, got, want any) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// balanced is the pool's condition in short: its status, reason and message.
func (w *town) balanced() string {
	w.t.Helper()
	var pool v1alpha1.VIPPool
	w.get("main", &pool)
	c := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.PoolBalanced)
	if c == nil {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message))
}

// twice lists VIPs that were asked to move more than once.
func (w *town) twice() string {
	count := map[string]int{}
	var names []string
	for _, b := range w.begun {
		if count[b.vip]++; count[b.vip] == 2 {
			names = append(names, b.vip)
		}
	}
	return strings.Join(names, ",")
}

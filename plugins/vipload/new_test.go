package vipload

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	goruntime "runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// apiServer serves VIPNodes and VIPNodeTraffics: of each one list, and watches that deliver what is sent.
type apiServer struct {
	nodes         []v1alpha1.VIPNode
	traffics      []v1alpha1.VIPNodeTraffic
	trafficless   bool // the cluster has no VIPNodeTraffics
	trafficEvents chan metav1.WatchEvent
	refuse        func() *apierrors.StatusError // answers instead, when set and not nil
	events        chan metav1.WatchEvent
	closed        chan struct{}

	mu    sync.Mutex
	agent string
}

func (s *apiServer) start(t *testing.T) *rest.Config {
	t.Helper()
	s.events, s.trafficEvents, s.closed = make(chan metav1.WatchEvent), make(chan metav1.WatchEvent), make(chan struct{})
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(s.closed) })
	// Protobuf, as the scheduler's own configuration asks for: the plugin must not pass it on.
	return &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf}}
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	s.agent = r.UserAgent()
	s.mu.Unlock()
	encode := json.NewEncoder(w)
	traffics := r.URL.Path == "/apis/evenkeel.io/v1alpha1/vipnodetraffics"
	if r.URL.Path != "/apis/evenkeel.io/v1alpha1/vipnodes" && (!traffics || s.trafficless) {
		w.WriteHeader(http.StatusNotFound)
		encode.Encode(apierrors.NewGenericServerResponse(http.StatusNotFound, "get", v1alpha1.Resource("vipnodetraffics"), "", "", 0, true).ErrStatus)
		return
	}
	if s.refuse != nil {
		if refusal := s.refuse(); refusal != nil {
			w.WriteHeader(int(refusal.ErrStatus.Code))
			encode.Encode(refusal.ErrStatus)
			return
		}
	}
	query := r.URL.Query()
	switch {
	case query.Get("sendInitialEvents") == "true": // the reflector lists when it isn't understood
		w.WriteHeader(http.StatusBadRequest)
		encode.Encode(apierrors.NewBadRequest("unknown parameter sendInitialEvents").ErrStatus)
	case query.Get("watch") == "true":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		events := s.events
		if traffics {
			events = s.trafficEvents
		}
		for {
			select {
			case event := <-events:
				encode.Encode(event)
				w.(http.Flusher).Flush()
			case <-r.Context().Done():
				return
			case <-s.closed:
				return
			}
		}
	case traffics:
		encode.Encode(v1alpha1.VIPNodeTrafficList{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNodeTrafficList"},
			ListMeta: metav1.ListMeta{ResourceVersion: "1"},
			Items:    s.traffics,
		})
	default:
		encode.Encode(v1alpha1.VIPNodeList{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNodeList"},
			ListMeta: metav1.ListMeta{ResourceVersion: "1"},
			Items:    s.nodes,
		})
	}
}

// send delivers an event to the one watch.
func (s *apiServer) send(kind string, node *v1alpha1.VIPNode) {
	node.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNode"}
	node.ResourceVersion = "2"
	s.events <- metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Object: node}}
}

// sendTraffic delivers an event to the one watch of VIPNodeTraffics.
func (s *apiServer) sendTraffic(kind string, traffic *v1alpha1.VIPNodeTraffic) {
	traffic.TypeMeta = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNodeTraffic"}
	traffic.ResourceVersion = "2"
	s.trafficEvents <- metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Object: traffic}}
}

// checkLeaks fails the test when goroutines are left after everything that it registers later for clean-up. Those of HTTP
// connections take a moment to end, so there is no fixed time for it.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		var left error
		for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			if left = goleak.Find(before); left == nil {
				return
			}
		}
		t.Error(left)
	})
}

// newHandle makes the part of the framework that New uses.
func newHandle(t *testing.T, config *rest.Config, factory informers.SharedInformerFactory, queue fwk.PodActivator) fwk.Handle {
	t.Helper()
	handle, err := frameworkruntime.NewFramework(t.Context(), nil, nil,
		frameworkruntime.WithKubeConfig(config), frameworkruntime.WithInformerFactory(factory))
	if err != nil {
		t.Fatal(err)
	}
	handle.SetPodActivator(queue)
	return handle
}

func TestNewKnowsAllVIPNodesAndFollowsThem(t *testing.T) {
	checkLeaks(t)
	server := &apiServer{nodes: []v1alpha1.VIPNode{*vipNode("a", alive("eth0", "192.0.2.101/24")), *vipNode("b")}}
	config := server.start(t)

	// Each activation is noted with what Filter would find at that moment.
	var made atomic.Pointer[VIPLoad]
	activated := make(chan string, 64)
	queue := queueFunc(func(pods map[string]*corev1.Pod) {
		pl := made.Load()
		if pl == nil {
			return
		}
		state := "nothing"
		if facts, _ := pl.nodes.get("b"); len(facts.NICs) > 0 {
			state = "a NIC"
			if local, err := servedBy(pl.endpoints, types.NamespacedName{Namespace: "web", Name: "shop"}); err == nil && len(local[0]) > 0 {
				state = "a NIC and an endpoint"
			}
		}
		for name := range pods {
			activated <- name + " finds " + state
		}
	})
	shop := endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("b", discoveryv1.EndpointConditions{Ready: ptr.To(false)}))
	client := fake.NewClientset(vipPod("waits", "192.0.2.10").Obj(), localPod("local", "192.0.2.11", "web/shop").Obj(), vipPod("bound", "192.0.2.12").Node("a").Obj(), shop)
	factory := informers.NewSharedInformerFactory(client, 0)
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klogger))
	defer factory.Shutdown()
	defer cancel()

	plugin, err := New(ctx, &VIPLoadArgs{Criteria: load.DefaultCriteria()}, newHandle(t, config, factory, queue))
	if err != nil {
		t.Fatal(err)
	}
	pl := plugin.(*VIPLoad)
	made.Store(pl)
	if facts, ok := pl.nodes.get("a"); !ok || len(facts.NICs) != 1 {
		t.Errorf("VIPNode a is not known when New returns: %+v", facts)
	}
	// A second profile shares the factory. (It has another API server here, as this one has one listener for its events.)
	second, err := New(ctx, &VIPLoadArgs{Criteria: load.DefaultCriteria()}, newHandle(t, (&apiServer{}).start(t), factory, &fakeQueue{}))
	if err != nil {
		t.Fatalf("a second profile: %v", err)
	}
	if err := second.(*VIPLoad).Close(); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	server.send("MODIFIED", vipNode("b", alive("eth0", "192.0.2.102/24")))
	receive(t, activated, "evenkeel-system/waits finds a NIC", "evenkeel-system/local finds a NIC")

	shop = shop.DeepCopy()
	shop.Endpoints[0].Conditions.Ready = ptr.To(true)
	if _, err := client.DiscoveryV1().EndpointSlices("web").Update(ctx, shop, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	receive(t, activated, "evenkeel-system/local finds a NIC and an endpoint")

	server.send("DELETED", vipNode("a"))
	eventually(t, func() bool { _, ok := pl.nodes.get("a"); return !ok })

	if !strings.HasSuffix(server.userAgent(), "/vipload") {
		t.Errorf("user agent %q doesn't name the plugin", server.userAgent())
	}
	if err := pl.Close(); err != nil {
		t.Fatal(err)
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:goruntime.Stack(stacks, true)]; strings.Contains(string(stacks), "(*activator).run") {
		t.Error("Close returned before what New started had ended")
	}
	if err := pl.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func (s *apiServer) userAgent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.agent
}

// receive waits until all the names have come, in any order; others and repetitions may come too.
func receive(t *testing.T, from <-chan string, want ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, name := range want {
		missing[name] = true
	}
	deadline := time.After(30 * time.Second)
	for len(missing) > 0 {
		select {
		case name := <-from:
			delete(missing, name)
		case <-deadline:
			t.Fatalf("not activated: %v", missing)
		}
	}
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in 30 s")
		}
	}
}

func TestNewFailsWithAClearSentence(t *testing.T) {
	resource := v1alpha1.Resource("vipnodes")
	tests := []struct {
		name   string
		args   runtime.Object
		refuse *apierrors.StatusError
		says   string
	}{
		{name: "the custom resource definitions are missing", args: &VIPLoadArgs{Criteria: load.DefaultCriteria()}, refuse: apierrors.NewGenericServerResponse(404, "get", resource, "", "", 0, true), says: "install Evenkeel's custom resource definitions"},
		{name: "the right to read VIPNodes is missing", args: &VIPLoadArgs{Criteria: load.DefaultCriteria()}, refuse: apierrors.NewForbidden(resource, "", nil), says: "get, list and watch on vipnodes"},
		{name: "a criterion comes twice", args: &VIPLoadArgs{Criteria: []load.Criterion{load.Count, load.Count}}, says: `criteria[1]: Duplicate value: "Count"`},
		{name: "no criteria", args: &VIPLoadArgs{}, says: "criteria: Required value"},
		{name: "the arguments are of another kind", args: &runtime.Unknown{}, says: "VIPLoadArgs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkLeaks(t)
			server := &apiServer{refuse: func() *apierrors.StatusError { return tt.refuse }}
			config := server.start(t)
			factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
			_, err := New(t.Context(), tt.args, newHandle(t, config, factory, &fakeQueue{}))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one with %q", err, tt.says)
			}
		})
	}
}

func TestNewEndsWithItsContextWhileTheAPIServerIsAway(t *testing.T) {
	checkLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	server := &apiServer{refuse: func() *apierrors.StatusError {
		cancel() // asked once; the answer below would be waited for again and again
		return apierrors.NewServiceUnavailable("starting")
	}}
	config := server.start(t)
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	if _, err := New(ctx, &VIPLoadArgs{Criteria: load.DefaultCriteria()}, newHandle(t, config, factory, &fakeQueue{})); err == nil {
		t.Error("New succeeded without an API server")
	}
}

func TestFiguresAreFollowedAndWakeNobody(t *testing.T) {
	checkLeaks(t)
	traffic := func(rate int64) *v1alpha1.VIPNodeTraffic {
		node := &v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		node.Status.MeasuredAt = metav1.Now()
		node.Status.VIPs = []v1alpha1.VIPTraffic{{Name: "192-0-2-10", BytesPerSecond: rate}}
		return node
	}
	server := &apiServer{traffics: []v1alpha1.VIPNodeTraffic{*traffic(1000)}}
	config := server.start(t)
	activated := make(chan string, 64)
	queue := queueFunc(func(pods map[string]*corev1.Pod) {
		for name := range pods {
			activated <- name
		}
	})
	client := fake.NewClientset(vipPod("waits", "192.0.2.11").Obj())
	factory := informers.NewSharedInformerFactory(client, 0)
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), klogger))
	defer factory.Shutdown()
	defer cancel()
	plugin, err := New(ctx, &VIPLoadArgs{Criteria: load.DefaultCriteria()}, newHandle(t, config, factory, queue))
	if err != nil {
		t.Fatal(err)
	}
	pl := plugin.(*VIPLoad)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	rate := func() int64 { return pl.meter.Read(time.Now(), 0).VIP("192-0-2-10", 0) }
	if got := rate(); got != 1000 {
		t.Errorf("%d bytes per second are known when New returns", got)
	}
	server.sendTraffic("MODIFIED", traffic(2000))
	eventually(t, func() bool { return rate() == 2000 })
	server.sendTraffic("DELETED", traffic(2000))
	eventually(t, func() bool { return rate() == 0 })
	if err := pl.Close(); err != nil {
		t.Fatal(err)
	}
	if len(activated) > 0 {
		t.Errorf("%s was activated", <-activated)
	}
}

func TestFiguresAreNeededOnlyWhereTheyCount(t *testing.T) {
	checkLeaks(t)
	config := (&apiServer{trafficless: true}).start(t)
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	handle := newHandle(t, config, factory, &fakeQueue{})
	if _, err := New(t.Context(), &VIPLoadArgs{Criteria: load.DefaultCriteria()}, handle); err == nil || !strings.Contains(err.Error(), "doesn't know VIPNodeTraffics: install") {
		t.Errorf("error %v, want one that says what is missing", err)
	}
	plugin, err := New(t.Context(), &VIPLoadArgs{Criteria: []load.Criterion{load.Count}}, handle)
	if err != nil {
		t.Fatal(err)
	}
	if err := plugin.(*VIPLoad).Close(); err != nil {
		t.Fatal(err)
	}
}

package setup

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
)

// watchEndpoints shows the EndpointSlices that there are now.
func (w *world) watchEndpoints() {
	var list discoveryv1.EndpointSliceList
	w.list(&list)
	now := map[string]discoveryv1.EndpointSlice{}
	for i := range list.Items {
		now[list.Items[i].Name] = list.Items[i]
		w.served.Observe(list.Items[i].DeepCopy())
	}
	for name, slice := range w.slices {
		if _, ok := now[name]; !ok {
			w.served.Forget(&slice)
		}
	}
	w.slices = now
}

// endpoints writes the one EndpointSlice of Service "web": "node-1" has a ready endpoint, "node-1:draining" one that is terminating
// and serves, "node-1:down" one that does not.
func (w *world) endpoints(on ...string) {
	w.t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i, text := range on {
		node, state := text[:len("node-1")], text[len("node-1"):]
		conditions := map[string]discoveryv1.EndpointConditions{
			"":          {Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)},
			":draining": {Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)},
			":down":     {Ready: ptr.To(false), Serving: ptr.To(false), Terminating: ptr.To(false)},
		}[state]
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{NodeName: &node, Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}, Conditions: conditions})
	}
	if _, ok := w.slices["web-1"]; ok {
		w.delete(slice.DeepCopy())
	}
	w.create(slice)
}

func local(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// localWorld is like guarded, with a Service of policy Local and endpoints on the nodes that are given; without a second one there is
// no standby.
func localWorld(t *testing.T, count int, on ...string) *world {
	t.Helper()
	w := guarded(t, count)
	w.endpoints(on...)
	change(w, w.service("web"), local)
	w.writes = nil
	w.settle()
	w.told()
	return w
}

func TestAPolicyThatBecomesLocalIsOneWordToPlaceholdersOfNodesWithEndpoints(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	if len(w.writes) != 2 {
		t.Errorf("writes %q, want an annotation on each placeholder", w.writes)
	}
	for _, name := range []string{"192-0-2-10-1", "192-0-2-10-2"} {
		w.wants("policy", w.pod(name).Annotations[placeholder.AnnotationPolicy], "Local")
	}
	change(w, w.service("web"), func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster })
	w.endpoints("node-3")
	w.settle()
	w.wants("policy", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationPolicy], "Cluster")
	w.wants("role", w.pod("192-0-2-10-1").Labels[placeholder.LabelRole], "active")
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 {
		t.Errorf("writes in steady state: %q", w.writes)
	}
}

func TestAVIPFollowsItsEndpointsToTheStandbyInOneWrite(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	w.endpoints("node-1:draining", "node-2")
	w.watch()
	w.writes = nil
	w.reconcile(w.vips, "", "192-0-2-10")
	if len(w.writes) != 1 || w.writes[0] != "patch v1.Pod 192-0-2-10-2" {
		t.Errorf("writes %q, want the promotion alone", w.writes)
	}
	w.settle()
	w.pod("192-0-2-10-1") // serves until the new one announces
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	move := w.vip("192-0-2-10").Status.LastMove
	if move == nil || move.From != "node-1" || move.To != "node-2" || move.Reason != failover.WhyEndpoints {
		t.Errorf("last move %+v", move)
	}
	w.wantsTold("Normal Moved 192.0.2.10 moved from node-1 to node-2: EndpointsMoved")
	if c := meta.FindStatusCondition(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPGuarded); c == nil || c.Reason != failover.NoOtherEndpoint {
		t.Errorf("condition Guarded: %+v", c)
	}
	w.endpoints("node-1", "node-2", "node-3") // nothing goes back, and a standby comes
	w.settle()
	w.wants("active", w.peersOf("192-0-2-10-2"), "active node-2, previous node-1")
	w.wants("role of the new one", w.pod("192-0-2-10-3").Labels[placeholder.LabelRole], "standby")
}

func TestAVIPFollowsItsEndpointToANodeWithoutItsStandby(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	w.endpoints("node-3")
	w.settle()
	next := w.pod("192-0-2-10-3")
	w.wants("role", next.Labels[placeholder.LabelRole], "active")
	w.wants("policy", next.Annotations[placeholder.AnnotationPolicy], "Local")
	w.pod("192-0-2-10-1")
	w.announce("192-0-2-10-3", "node-3")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.gone(&corev1.Pod{}, "192-0-2-10-2") // nobody would serve what it took over
	if c := meta.FindStatusCondition(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPGuarded); c == nil || c.Status != metav1.ConditionFalse || c.Reason != failover.NoOtherEndpoint {
		t.Errorf("condition Guarded: %+v", c)
	}
}

func TestTheLastEndpointIsServedUntilItHasDrained(t *testing.T) {
	w := localWorld(t, 3, "node-1")
	w.endpoints("node-1:draining", "node-2:down")
	w.writes = nil
	w.settle()
	if len(w.writes) > 0 {
		t.Errorf("writes %q, while the last endpoint still serves", w.writes)
	}
	w.endpoints("node-1:draining", "node-2")
	w.settle()
	w.announce("192-0-2-10-3", "node-2")
	w.settle()
	w.wants("node", w.vip("192-0-2-10").Status.Node, "node-2")
}

func TestAVIPWithoutAnyEndpointIsWithdrawnAndComesBack(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	w.endpoints("node-1:down")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	waiting := w.pod("192-0-2-10-3")
	w.wants("role", waiting.Labels[placeholder.LabelRole], "active")
	w.wants("node", waiting.Spec.NodeName, "")
	w.pass(2 * time.Second)
	v := w.vip("192-0-2-10")
	if c := meta.FindStatusCondition(v.Status.Conditions, v1alpha1.VIPAnnounced); c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonNoEndpoints {
		t.Errorf("condition Announced: %+v", c)
	}
	if c := meta.FindStatusCondition(v.Status.Conditions, v1alpha1.VIPGuarded); c == nil || c.Status != metav1.ConditionFalse || c.Reason != failover.NoEndpoints {
		t.Errorf("condition Guarded: %+v", c)
	}
	w.wants("node", v.Status.Node, "")
	w.wants("the address, which is kept", w.ingress("web"), "192.0.2.10")
	w.wantsTold("Warning NoEndpoints No pod of the Service is ready")
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 || w.told() != "" {
		t.Errorf("writes %q while it waits", w.writes)
	}
	w.endpoints("node-3")
	w.settle()
	w.announce("192-0-2-10-3", "node-3") // the scheduler's activator looks at endpoints itself
	w.settle()
	w.wants("node", w.vip("192-0-2-10").Status.Node, "node-3")
	if move := w.vip("192-0-2-10").Status.LastMove; move == nil || move.From != "node-1" || move.To != "node-3" || move.Reason != failover.WhyEndpoints {
		t.Errorf("last move %+v", move)
	}
}

func TestAWithdrawnPlaceholderIsReleasedBeforeItIsDeleted(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Finalizers = []string{"test/kubelet"} })
	w.endpoints()
	w.settle()
	going := w.pod("192-0-2-10-1")
	if going.DeletionTimestamp == nil || going.Annotations[placeholder.AnnotationRelease] != "true" {
		t.Errorf("deleted %v, annotations %v", going.DeletionTimestamp, going.Annotations)
	}
}

func TestAVIPThatNoNodeWithAnEndpointCanHaveStaysAndIsTold(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	for _, name := range []string{"node-2", "node-3"} {
		change(w, w.node(name), func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""} })
	}
	w.settle()
	w.told()
	w.endpoints("node-2", "node-3")
	w.settle()
	w.wants("where it is", w.vip("192-0-2-10").Status.Node, "node-1")
	w.wantsTold("Warning NoEligibleNode 192.0.2.10 stays on node-1, which has no ready pod of the Service any more")
	w.pass(time.Hour)
	w.wants("told again", w.told(), "")
	change(w, w.node("node-3"), func(n *corev1.Node) { n.Labels = nil })
	w.settle()
	w.announce("192-0-2-10-3", "node-3")
	w.settle()
	w.wants("where it is", w.vip("192-0-2-10").Status.Node, "node-3")
}

func TestAServiceWithoutPodsWaitsForThem(t *testing.T) {
	w := newWorld(t, append(append(aNode(1), aNode(2)...), aPool("main", "192.0.2.10"), aService("web", local))...)
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
	w.pass(2 * time.Second)
	w.wantsTold("Warning NoEndpoints")
	w.pod("192-0-2-10-1")
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	w.endpoints("node-1")
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.wants("node", w.vip("192-0-2-10").Status.Node, "node-1")
}

func TestAMoveWhoseReasonIsGoneIsTakenBackWhereTheSchedulerFindsNoNode(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	w.endpoints("node-3")
	w.settle()
	w.pod("192-0-2-10-3")
	w.endpoints("node-1") // before it was placed
	w.settle()
	w.pass(2 * time.Second)
	w.wants("role", w.pod("192-0-2-10-1").Labels[placeholder.LabelRole], "active")
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-3")
	w.wants("node", w.vip("192-0-2-10").Status.Node, "node-1")
}

func TestARestartBesideALocalVIPWritesNothing(t *testing.T) {
	w := localWorld(t, 3, "node-1", "node-2")
	w.writes = nil
	w.restart()
	w.settle()
	if len(w.writes) > 0 {
		t.Errorf("writes %q", w.writes)
	}
}

func TestTheCacheKeepsOfSlicesOnlyWhereEndpointsAre(t *testing.T) {
	found := false
	for obj, options := range CacheOptions(ns).ByObject {
		if _, ok := obj.(*discoveryv1.EndpointSlice); !ok {
			continue
		}
		found = true
		if options.Label.Matches(labels.Set{corev1.IsHeadlessService: ""}) || !options.Label.Matches(labels.Set{discoveryv1.LabelServiceName: "web"}) {
			t.Errorf("selector %s", options.Label)
		}
		node := "node-1"
		got, err := options.Transform(&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{NodeName: &node, Addresses: []string{"10.0.0.1"}}}})
		if err != nil || got.(*discoveryv1.EndpointSlice).Endpoints[0].Addresses != nil {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if !found {
		t.Error("EndpointSlices are cached whole")
	}
}

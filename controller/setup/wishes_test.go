package setup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// zoned is a world of three nodes, of which the first two are in zone a and the third in zone b, and one Service.
func zoned(t *testing.T, service *corev1.Service) *world {
	t.Helper()
	objects := []client.Object{aPool("main", "192.0.2.10-192.0.2.20")}
	for i, zone := range []string{"a", "a", "b"} {
		for _, obj := range aNode(i + 1) {
			if _, ok := obj.(*corev1.Node); ok {
				obj.SetLabels(map[string]string{"zone": zone})
			}
			objects = append(objects, obj)
		}
	}
	w := newWorld(t, append(objects, service)...)
	w.settle()
	return w
}

func annotate(w *world, annotations map[string]string) {
	w.t.Helper()
	change(w, w.service("web"), func(s *corev1.Service) { s.Annotations = annotations })
	w.settle()
}

func TestANodeSelectorHoldsForStandbysAndCountsThem(t *testing.T) {
	w := zoned(t, aService("web", annotated(placeholder.AnnotationNodeSelector, "zone=a")))
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	for _, name := range []string{"192-0-2-10-1", "192-0-2-10-2"} {
		terms := w.pod(name).Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		if len(terms) != 1 || fmt.Sprint(terms[0].MatchExpressions) != "[{zone In [a]}]" {
			t.Errorf("%s may be on %+v", name, terms)
		}
	}
	w = zoned(t, aService("web", annotated(placeholder.AnnotationNodeSelector, "zone=b"))) // a zone of one node
	w.announce("192-0-2-10-1", "node-3")
	w.pass(10 * time.Second)
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	if c := meta.FindStatusCondition(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPGuarded); c == nil || c.Reason != "SingleNode" {
		t.Errorf("condition %+v", c)
	}
}

func TestAChangedNodeSelectorMovesWhatNoLongerMatches(t *testing.T) {
	w := zoned(t, aService("web", annotated(placeholder.AnnotationStandbys, "0")))
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	both := map[string]string{placeholder.AnnotationStandbys: "0", placeholder.AnnotationNodeSelector: "zone in (a,b)"}
	w.writes = nil
	annotate(w, both)
	if len(w.writes) > 0 {
		t.Errorf("writes %q though its node is still selected", w.writes)
	}
	both[placeholder.AnnotationNodeSelector] = "zone=b"
	annotate(w, both)
	w.pod("192-0-2-10-1") // make before break
	w.announce("192-0-2-10-2", "node-3")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	if move := w.vip("192-0-2-10").Status.LastMove; move == nil || move.To != "node-3" || move.Reason != "NodeNotEligible" {
		t.Errorf("last move %+v", move)
	}
}

func TestAnImpossibleNodeSelectorMovesNothingAndIsTold(t *testing.T) {
	w := zoned(t, aService("web"))
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.guard("192-0-2-10-2", "node-2")
	w.settle()
	w.told()
	annotate(w, map[string]string{placeholder.AnnotationNodeSelector: "zone=c"})
	w.wantsTold("Warning NoEligibleNode 192.0.2.10 stays on node-1: no node that its node selector")
	w.pass(time.Minute)
	w.wants("told again", w.told(), "")
	w.wants("who announces", w.vip("192-0-2-10").Status.Node, "node-1")
	w.pod("192-0-2-10-1")

	// A new VIP waits, and the scheduler's own reason is in the event.
	w.create(aService("new", annotated(placeholder.AnnotationNodeSelector, "zone=c")))
	w.settle()
	const says = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
	change(w, w.pod("192-0-2-11-1"), func(p *corev1.Pod) {
		setCondition(p, corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", says)
	})
	w.settle()
	w.pass(2 * time.Second)
	w.wantsTold("Warning NoEligibleNode " + strings.TrimSuffix(says, ".") + ". It is placed by itself")
}

func TestAWishThatCannotBeReadIsToldAndNotFollowed(t *testing.T) {
	w := zoned(t, aService("web"))
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.guard("192-0-2-10-2", "node-2")
	w.settle()
	w.told()
	w.writes = nil
	annotate(w, map[string]string{placeholder.AnnotationNodeSelector: "zone in", placeholder.AnnotationSpread: "hard"})
	w.wantsTold("Warning InvalidRequest annotation evenkeel.io/node-selector")
	if len(w.writes) > 0 {
		t.Errorf("writes %q", w.writes)
	}
}

func TestAGroupIsOnThePlaceholdersAndFollows(t *testing.T) {
	w := zoned(t, aService("web", annotated(placeholder.LabelSpreadGroup, "dns")))
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.guard("192-0-2-10-2", "node-2")
	w.settle()
	label := func(pod string) string { return w.pod(pod).Labels[placeholder.LabelSpreadGroup] }
	w.wants("the active's group", label("192-0-2-10-1"), "default.dns")
	w.wants("the standby's group", label("192-0-2-10-2"), "default.dns")
	w.writes = nil
	annotate(w, map[string]string{placeholder.LabelSpreadGroup: "web"})
	w.wants("the active's group", label("192-0-2-10-1"), "default.web")
	w.wants("the standby's group", label("192-0-2-10-2"), "default.web")
	if len(w.writes) != 2 {
		t.Errorf("writes %q, want a patch of each placeholder: nothing moves", w.writes)
	}
	annotate(w, nil)
	w.wants("the active's group", label("192-0-2-10-1"), "")
}

func TestAPoolsPatchIsTriedBeforeItIsUsed(t *testing.T) {
	w := zoned(t, aService("web"))
	refuse := true
	w.refuse = func(verb string, obj client.Object) error {
		if pod, ok := obj.(*corev1.Pod); ok && refuse && verb == "create" && pod.Spec.PriorityClassName == "unknown" {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", fmt.Errorf("no PriorityClass with name unknown was found"))
		}
		return nil
	}
	patch := func(text string) {
		change(w, w.pool("main"), func(p *v1alpha1.VIPPool) { p.Spec.PodTemplatePatch = &runtime.RawExtension{Raw: []byte(text)} })
		w.settle()
	}
	ready := func() *metav1.Condition {
		return meta.FindStatusCondition(w.pool("main").Status.Conditions, v1alpha1.PoolReady)
	}
	for i, tt := range []struct{ patch, says string }{
		{`{"spec":{"priorityClassName":"unknown"}}`, "no PriorityClass"},
		{`{"spec":{"hostNetwork":false}}`, "spec.hostNetwork"},
	} {
		w.told()
		patch(tt.patch)
		if c := ready(); c == nil || c.Reason != v1alpha1.ReasonInvalidPatch || !strings.Contains(c.Message, tt.says) {
			t.Errorf("condition %+v, want one with %q", c, tt.says)
		}
		w.wantsTold("Warning InvalidPodTemplatePatch podTemplatePatch isn't used")
		name := fmt.Sprintf("new-%d", i)
		w.create(aService(name))
		w.settle()
		if pod := w.pod(fmt.Sprintf("192-0-2-1%d-1", i+1)); pod.Spec.PriorityClassName != "" || !pod.Spec.HostNetwork {
			t.Errorf("placed with the patch: %+v", pod.Spec)
		}
	}
	patch(`{"spec":{"priorityClassName":"unknown"}}`)
	refuse = false // somebody has made it meanwhile
	w.pass(2 * time.Minute)
	if c := ready(); c.Status != metav1.ConditionTrue {
		t.Errorf("condition %+v", c)
	}
	w.create(aService("late"))
	w.settle()
	w.wants("priority class", w.pod("192-0-2-13-1").Spec.PriorityClassName, "unknown")
	w.gone(&corev1.Pod{}, "podtemplatepatch") // which was only tried
}

func TestTheAPIServersAddressesAreNeverGivenAway(t *testing.T) {
	endpoints := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelServiceName: "kubernetes"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.10"}}},
	}
	api := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"192.0.2.11"}}}
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), endpoints, api, aService("web"))
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.12")
	for _, address := range []string{"192.0.2.10", "192.0.2.11"} {
		w.told()
		w.create(aService("asks-"+strings.ReplaceAll(address, ".", "-"), annotated(placeholder.AnnotationRequested, address)))
		w.settle()
		w.wantsTold("Warning AddressTaken " + address + " is where this cluster's API server is reached (Service default/kubernetes) and never handed out")
	}
	w.told()
	w.create(aVIPPod("mine", "192.0.2.10"))
	w.settle()
	w.wantsTold("Warning AddressRefused 192.0.2.10 is where this cluster's API server is reached")
}

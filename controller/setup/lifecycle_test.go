package setup

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestAServiceGetsItsVIPInThreeWritesAndIsAnnouncedInTwoMore(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"))
	w.settle()
	w.create(aService("web"))
	w.watch()
	w.writes = nil
	w.reconcile(w.services, "default", "web")
	if len(w.writes) != 3 || w.writes[0] != "create v1alpha1.VIP 192-0-2-10" {
		t.Errorf("writes: %q, want the VIP and then its placeholder and the ingress", w.writes)
	}
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
	if mode := w.service("web").Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("ipMode %v", mode)
	}
	w.wantsTold("Normal Allocated Allocated 192.0.2.10 from VIPPool main")

	pod := w.pod("192-0-2-10-1")
	parsed, err := placeholder.Parse(pod)
	if err != nil || !placeholder.Is(pod) || placeholder.HandWritten(pod) {
		t.Fatalf("the placeholder isn't one: %+v, %v", pod, err)
	}
	if parsed.Term != 1 || parsed.Service.String() != "default/web" || placeholder.FormatPorts(parsed.Ports) != "tcp/80" || parsed.Local {
		t.Errorf("placeholder %+v", parsed)
	}

	w.watch()
	w.reconcile(w.vips, "", "192-0-2-10") // not announced yet: nothing is worth a write
	w.announce("192-0-2-10-1", "node-1")
	w.writes = nil
	w.reconcile(w.vips, "", "192-0-2-10")
	if len(w.writes) != 2 {
		t.Errorf("writes at the announcement: %q, want the VIP's status and the Service's condition", w.writes)
	}
	v := w.vip("192-0-2-10")
	if v.Status.Node != "node-1" || v.Status.Services != "default/web" || v.Status.LastMove != nil || !meta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.VIPAnnounced) {
		t.Errorf("status %+v", v.Status)
	}
	c := meta.FindStatusCondition(w.service("web").Status.Conditions, v1alpha1.ServiceAnnounced)
	if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "node-1") {
		t.Errorf("the Service's condition: %+v", c)
	}
	w.wantsTold("Normal Announced node-1 announces 192.0.2.10")
	w.settle()
	w.pass(10 * time.Second) // that it has no guard, as there is no other node, is said once
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 || w.told() != "" {
		t.Errorf("writes in steady state: %q", w.writes)
	}
}

func TestARestartWritesNothing(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), aService("a"), aService("b"))
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.announce("192-0-2-11-1", "node-2")
	w.settle()
	w.told()
	w.writes = nil
	w.restart()
	w.settle()
	if events := w.told(); len(w.writes) > 0 || events != "" {
		t.Errorf("after a restart: writes %q, events %q", w.writes, events)
	}
}

func TestADeletedServiceFreesItsAddressOnlyAfterLifetimeAndLinger(t *testing.T) {
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprintf("while the controller was away: %v", away), func(t *testing.T) {
			w := newWorld(t, aPool("main", "192.0.2.10"), aService("old"))
			w.settle()
			w.announce("192-0-2-10-1", "node-1")
			w.settle()
			w.delete(w.service("old"))
			if away {
				w.restart()
			}
			w.create(aService("new"))
			w.settle()
			w.gone(&corev1.Pod{}, "192-0-2-10-1")
			w.wants("ingress of the new one", w.ingress("new"), "")
			w.wantsTold("PoolExhausted")
			w.pass(15 * time.Second)
			w.wants("ingress within the quarantine", w.ingress("new"), "")
			w.pass(2 * time.Second)
			w.wants("ingress after it", w.ingress("new"), "192.0.2.10")
			if got := w.vip("192-0-2-10").Spec.Services[0].Name; got != "new" {
				t.Errorf("the VIP belongs to %s", got)
			}
		})
	}
}

func TestAnAddressStaysTakenWhileAPlaceholderNamesIt(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("old"))
	w.settle()
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Finalizers = []string{"test/kubelet"} }) // as a kubelet that is gone
	w.delete(w.service("old"))
	w.create(aService("new"))
	w.settle()
	pod := w.pod("192-0-2-10-1")
	if pod.DeletionTimestamp == nil || pod.Annotations[placeholder.AnnotationRelease] != "true" {
		t.Errorf("the placeholder isn't released: %+v", pod.ObjectMeta)
	}
	w.pass(time.Hour)
	w.wants("ingress while the pod is there", w.ingress("new"), "")
	change(w, pod, func(p *corev1.Pod) { p.Finalizers = nil })
	w.pass(time.Second)
	w.wants("ingress after the pod is gone", w.ingress("new"), "192.0.2.10")
}

func TestAServiceOfTheSameNameIsAnotherOne(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.11"), aService("web"))
	w.settle()
	w.delete(w.service("web"))
	w.create(aService("web")) // nobody saw it gone
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.11")
	if v := w.vip("192-0-2-10"); v.Spec.ReleasedAt == nil || len(v.Spec.Services) > 0 {
		t.Errorf("the VIP of the earlier one: %+v", v.Spec)
	}
}

func TestATypeChangeReleasesAndClears(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	change(w, w.service("web"), func(s *corev1.Service) { s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeClusterIP, nil })
	w.settle()
	if status := w.service("web").Status; len(status.Conditions) > 0 || len(status.LoadBalancer.Ingress) > 0 {
		t.Errorf("status left behind: %+v", status)
	}
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.pass(20 * time.Second)
	w.gone(&v1alpha1.VIP{}, "192-0-2-10")
}

func TestAnEvictedPlaceholderIsReplacedByOneThatKnowsIt(t *testing.T) {
	node := &v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
		{Name: "eth0", MAC: "02:00:00:00:00:01", Addresses: []string{"192.0.2.101/24"}, Carrier: true},
		{Name: "eth1", MAC: "02:00:00:00:00:02", Addresses: []string{"198.51.100.1/24"}, Carrier: true},
	}}}
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"), node)
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Finalizers = []string{"test/kubelet"} })
	w.delete(w.pod("192-0-2-10-1"))
	w.settle()
	parsed, err := placeholder.Parse(w.pod("192-0-2-10-2")) // made while the old one is still going
	if err != nil || parsed.Term != 2 {
		t.Fatalf("successor %+v, %v", parsed, err)
	}
	want := `[{"pod":"192-0-2-10-1","node":"node-1","macs":["02:00:00:00:00:01"],"addresses":["192.0.2.101"]}]`
	w.wants("peers", placeholder.FormatPeers(parsed.Peers), want)
	w.wants("who announces meanwhile", w.vip("192-0-2-10").Status.Node, "node-1")

	w.announce("192-0-2-10-2", "node-2")
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Finalizers = nil })
	w.told()
	w.settle()
	move := w.vip("192-0-2-10").Status.LastMove
	if move == nil || move.From != "node-1" || move.To != "node-2" || move.Reason != "PlaceholderDeleted" {
		t.Errorf("last move %+v", move)
	}
	w.wantsTold("Normal Moved 192.0.2.10 moved from node-1 to node-2")
}

func TestAMoveThroughNobodyRemembersWhereItCameFrom(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.delete(w.pod("192-0-2-10-1"))
	w.settle()
	w.pass(10 * time.Second)
	w.wants("node in between", w.vip("192-0-2-10").Status.Node, "")
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	if move := w.vip("192-0-2-10").Status.LastMove; move == nil || move.From != "node-1" || move.To != "node-2" {
		t.Errorf("last move %+v", move)
	}
}

func TestARejectedPlaceholderIsReplacedWithGrowingDelays(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	reject := func(name string) {
		change(w, w.pod(name), func(p *corev1.Pod) {
			p.Spec.NodeName = "node-1"
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, "OutOfpods", "Node didn't have enough resource: pods"
		})
		w.settle()
	}
	reject("192-0-2-10-1")
	w.pod("192-0-2-10-2") // the first successor comes at once
	reject("192-0-2-10-2")
	w.gone(&corev1.Pod{}, "192-0-2-10-3")
	w.wantsTold("Warning NoPodSlot")
	w.pass(time.Second)
	reject("192-0-2-10-3")
	w.pass(time.Second)
	w.gone(&corev1.Pod{}, "192-0-2-10-4")
	w.pass(time.Second)
	w.pod("192-0-2-10-4")
	w.gone(&corev1.Pod{}, "192-0-2-10-2") // those that failed go when they have a successor
}

func TestAnUnplaceableVIPSaysWhyAndIsToldOnce(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) {
		setCondition(p, corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "0/3 nodes are available: 3 have no NIC in the VIP's subnet.")
	})
	w.told()
	w.settle()
	if got := w.told(); got != "" {
		t.Errorf("told before its patience ended: %s", got)
	}
	w.pass(2 * time.Second)
	w.wantsTold("Warning NoEligibleNode 0/3 nodes are available: 3 have no NIC in the VIP's subnet. It is placed by itself")
	w.pass(time.Hour)
	w.wants("told again", w.told(), "")
	if c := meta.FindStatusCondition(w.service("web").Status.Conditions, v1alpha1.ServiceAnnounced); c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "0/3 nodes") {
		t.Errorf("the Service's condition: %+v", c)
	}
}

func TestAConflictNamesTheMAC(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) {
		p.Spec.NodeName = "node-1"
		setCondition(p, placeholder.ConditionReady, corev1.ConditionFalse, placeholder.ReasonConflict, "02:00:00:00:00:99 answers for 192.0.2.10")
	})
	w.settle()
	w.pass(2 * time.Second)
	w.wantsTold("Warning AddressConflict Node node-1: 02:00:00:00:00:99 answers for 192.0.2.10. Take the address")
	if c := meta.FindStatusCondition(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPConflict); c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, "02:00:00:00:00:99") {
		t.Errorf("condition %+v", c)
	}
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	if c := meta.FindStatusCondition(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPConflict); c.Status != metav1.ConditionFalse {
		t.Errorf("condition %+v after the conflict", c)
	}
}

func TestAnIngressThatOthersChangeIsPutRightButNotInARace(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	spoil := func() {
		change(w, w.service("web"), func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.1"}}
		})
	}
	spoil()
	w.pass(time.Second)
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
	spoil()
	if wait := w.reconcile(w.services, "default", "web").RequeueAfter; wait <= 0 || wait > time.Second {
		t.Errorf("the second correction within a second comes after %s", wait)
	}
	w.wants("ingress", w.ingress("web"), "203.0.113.1")
	w.pass(time.Second)
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
}

func TestPortsPolicyAndInterfacesFollow(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	change(w, w.service("web"), func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP})
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})
	var p v1alpha1.VIPPool
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: "main"}, &p); err != nil {
		t.Fatal(err)
	}
	change(w, &p, func(p *v1alpha1.VIPPool) { p.Spec.Interfaces = []string{"eth1", "eth2"} })
	w.writes = nil
	w.reconcile(w.vips, "", "192-0-2-10")
	if len(w.writes) != 1 {
		t.Errorf("writes %q, want one patch", w.writes)
	}
	parsed, err := placeholder.Parse(w.pod("192-0-2-10-1"))
	if err != nil || placeholder.FormatPorts(parsed.Ports) != "tcp/80,udp/53" || !parsed.Local || strings.Join(parsed.Interfaces, ",") != "eth1,eth2" {
		t.Errorf("placeholder %+v, %v", parsed, err)
	}
	w.delete(&p) // the allocation and what is known of it outlive the pool
	w.settle()
	w.wants("interfaces", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationInterfaces], "eth1,eth2")
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
}

func TestAVIPDeletedByHandIsAllocatedAgainToItsService(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.11"), aService("web"))
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.delete(w.vip("192-0-2-10"))
	w.watch()
	w.create(aService("other"))
	w.watch()
	w.reconcile(w.services, "default", "other") // comes first, and must not get it
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
	w.wants("ingress of the other", w.ingress("other"), "192.0.2.11")
	parsed, err := placeholder.Parse(w.pod("192-0-2-10-2"))
	if err != nil || parsed.Term != 2 || len(parsed.Peers) != 1 {
		t.Errorf("successor %+v, %v", parsed, err)
	}
}

func TestAStartKeepsWhatServicesShow(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.11"))
	w.create(aService("aa-new"))
	w.create(aService("old", func(s *corev1.Service) {}))
	change(w, w.service("old"), func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}}
	})
	w.restart() // VIP objects are lost, statuses aren't
	w.settle()
	w.wants("ingress of the old one", w.ingress("old"), "192.0.2.10")
	w.wants("ingress of the new one", w.ingress("aa-new"), "192.0.2.11")
}

func TestAnAddressWhoseVIPNobodyHasSeenIsPassedOver(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.11"))
	w.create(aService("web"))
	w.create(&v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: "192-0-2-10"}, Spec: v1alpha1.VIPSpec{
		Addresses: []string{"192.0.2.10"}, Services: []v1alpha1.ServiceReference{{Namespace: "x", Name: "y", UID: "z"}}}})
	w.reconcile(w.services, "default", "web")
	w.wants("ingress", w.ingress("web"), "192.0.2.11")
}

func TestAVIPOfOnesOwnThatNobodyHasSeenIsAdopted(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.11"))
	w.create(aService("web"))
	w.create(&v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: "192-0-2-10"}, Spec: v1alpha1.VIPSpec{
		Addresses: []string{"192.0.2.10"}, Services: []v1alpha1.ServiceReference{{Namespace: "default", Name: "web", UID: w.service("web").UID}}}})
	w.reconcile(w.services, "default", "web")
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
}

func TestAFailedCreationGivesTheAddressBack(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.refuse = func(verb string, obj client.Object) error {
		if _, ok := obj.(*v1alpha1.VIP); ok && verb == "create" {
			return apierrors.NewInternalError(errors.New("etcd is away"))
		}
		return nil
	}
	if _, err := w.services.Reconcile(w.ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: "web"}}); err == nil {
		t.Fatal("a failed creation went unnoticed")
	}
	w.refuse = nil
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
}

func TestALostPlaceholderCreationIsMadeUpForByTheVIP(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.refuse = func(verb string, obj client.Object) error {
		if _, ok := obj.(*corev1.Pod); ok && verb == "create" {
			return apierrors.NewForbidden(corev1.Resource("pods"), obj.GetName(), errors.New("quota"))
		}
		return nil
	}
	for range 3 {
		if _, err := w.services.Reconcile(w.ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "default", Name: "web"}}); err != nil && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		w.watch()
		if _, err := w.vips.Reconcile(w.ctx, ctrl.Request{NamespacedName: types.NamespacedName{Name: "192-0-2-10"}}); !apierrors.IsForbidden(err) {
			t.Fatalf("got %v", err)
		}
	}
	if n := strings.Count(w.told(), "Warning NoPlaceholder"); n != 1 {
		t.Errorf("told %d times", n)
	}
	w.refuse = nil
	w.settle()
	w.pod("192-0-2-10-1")
}

func TestAVIPWeighsWhatItsServiceSays(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.19"), aService("web", annotated(placeholder.AnnotationWeight, "7")))
	w.settle()
	weights := func(want string) {
		t.Helper()
		w.wants("the VIP's weight", fmt.Sprint(w.vip("192-0-2-10").Spec.Weight), want)
		w.wants("the placeholder's weight", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationWeight], want)
	}
	weights("7")
	w.wants("the placeholder's pool", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationPool], "main")
	w.told()
	for _, tt := range []struct{ asked, want, says string }{
		{asked: "1000", want: "1000"},
		{asked: "heavy", want: "1", says: `"heavy" is not a whole number from 1 to 1000. The VIP counts 1`},
		{asked: "0", want: "1", says: `"0" is not a whole number`},
		{asked: "3", want: "3"},
	} {
		change(w, w.service("web"), func(s *corev1.Service) { s.Annotations[placeholder.AnnotationWeight] = tt.asked })
		w.settle()
		weights(tt.want)
		if tt.says != "" {
			w.wantsTold(tt.says)
		} else {
			w.wants("what was told", w.told(), "")
		}
	}
	change(w, w.service("web"), func(s *corev1.Service) { delete(s.Annotations, placeholder.AnnotationWeight) })
	w.settle()
	weights("1")
	w.announce("192-0-2-10-1", "node-1")
	before := len(w.writes)
	w.settle()
	w.settle()
	for _, write := range w.writes[before:] {
		if strings.Contains(write, "v1alpha1.VIP 192") && !strings.Contains(write, "status") {
			t.Errorf("wrote again: %s", write)
		}
	}
}

func TestAPoolsLimitIsOnItsPlaceholders(t *testing.T) {
	pool := aPool("main", "192.0.2.10-192.0.2.19")
	pool.Spec.MaxVIPsPerNode = ptr.To(int32(4))
	w := newWorld(t, pool, aService("web"))
	w.settle()
	limit := func() string { return w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationMaxVIPsPerNode] }
	w.wants("the limit", limit(), "4")
	var changed v1alpha1.VIPPool
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: "main"}, &changed); err != nil {
		t.Fatal(err)
	}
	change(w, &changed, func(p *v1alpha1.VIPPool) { p.Spec.MaxVIPsPerNode = nil })
	w.settle()
	w.wants("the limit when the pool has none any more", limit(), "")
}

package setup

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestWhatCannotBeMetIsToldAndMetLater(t *testing.T) {
	tests := []struct {
		name    string
		service *corev1.Service
		told    string
		remedy  func(w *world)
		ingress string
	}{
		{name: "no pool", service: aService("web"), told: "Warning NoPool",
			remedy: func(w *world) { w.create(aPool("late", "192.0.2.10")) }, ingress: "192.0.2.10"},
		{name: "a pool that isn't there", service: aService("web", annotated(placeholder.AnnotationPool, "late")), told: "Warning UnknownPool There is no VIPPool late",
			remedy: func(w *world) { w.create(aPool("late", "192.0.2.10")) }, ingress: "192.0.2.10"},
		{name: "an address in no pool", service: aService("web", annotated(placeholder.ForeignKubeVIPAddresses, "192.0.2.77")), told: "Warning AddressNotInPool 192.0.2.77 is in no VIPPool",
			remedy: func(w *world) { w.create(aPool("late", "192.0.2.64/28")) }, ingress: "192.0.2.77"},
		{name: "a second family that is required", service: aService("web", func(s *corev1.Service) {
			policy := corev1.IPFamilyPolicyRequireDualStack
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		}), told: "Warning NoPool",
			remedy: func(w *world) { w.create(aPool("late", "192.0.2.10", "2001:db8::10")) }, ingress: "2001:db8::10,192.0.2.10"},
		{name: "a taken address", service: aService("web", func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.20" }),
			told:    "Warning AddressTaken 192.0.2.20 is taken by the placeholder pod by-hand",
			remedy:  func(w *world) { w.delete(w.pod("by-hand")) },
			ingress: "192.0.2.20"},
		{name: "an annotation that can't be read", service: aService("web", annotated(placeholder.AnnotationRequested, "192.0.2.300")), told: "Warning InvalidRequest evenkeel.io/load-balancer-ips can't be read",
			remedy: func(w *world) {
				change(w, w.service("web"), annotated(placeholder.AnnotationRequested, "192.0.2.21"))
			}, ingress: "192.0.2.21"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			manual := aPool("manual", "192.0.2.20-192.0.2.21")
			no := false
			manual.Spec.AutoAssign = &no
			byHand := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "by-hand", Labels: map[string]string{placeholder.LabelVIP: "192-0-2-20"},
				Annotations: map[string]string{placeholder.AnnotationAddresses: "192.0.2.20"}}, Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName}}
			w := newWorld(t, manual, byHand)
			w.create(tt.service.DeepCopy())
			w.settle()
			w.wants("ingress", w.ingress("web"), "")
			w.wantsTold(tt.told)
			if c := meta.FindStatusCondition(w.service("web").Status.Conditions, v1alpha1.ServiceAnnounced); c == nil || c.Status != metav1.ConditionFalse {
				t.Errorf("the Service's condition: %+v", c)
			}
			if waiting := len(w.services.Pending()); waiting != 1 {
				t.Errorf("%d Services wait", waiting)
			}
			w.pass(time.Hour)
			w.wants("told again", w.told(), "")
			tt.remedy(w)
			w.settle()
			w.wants("ingress after the remedy", w.ingress("web"), tt.ingress)
			if waiting := len(w.services.Pending()); waiting != 0 {
				t.Errorf("%d Services still wait", waiting)
			}
		})
	}
}

func TestAChangedWishIsMetBeforeTheOldAddressGoes(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), aService("web"))
	w.settle()
	change(w, w.service("web"), annotated(placeholder.AnnotationRequested, "192.0.2.99"))
	w.told()
	w.settle()
	w.wants("ingress while the wish can't be met", w.ingress("web"), "192.0.2.10")
	w.wantsTold("AddressNotInPool")
	change(w, w.service("web"), annotated(placeholder.AnnotationRequested, "192.0.2.12"))
	w.pass(2 * time.Second)
	w.wants("ingress", w.ingress("web"), "192.0.2.12")
	if w.vip("192-0-2-10").Spec.ReleasedAt == nil {
		t.Error("the old address isn't released")
	}
}

func TestSelectorsOfPoolsAreHeeded(t *testing.T) {
	forTeam := aPool("aa-team", "198.51.100.1")
	forTeam.Spec.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "a"}}
	forWeb := aPool("bb-web", "203.0.113.1")
	forWeb.Spec.ServiceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	w := newWorld(t, forTeam, forWeb, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, aService("plain"), aService("web", func(s *corev1.Service) { s.Labels = map[string]string{"app": "web"} }))
	w.settle()
	w.wants("ingress of web", w.ingress("web"), "203.0.113.1")
	w.wants("ingress of plain", w.ingress("plain"), "")
	var namespace corev1.Namespace
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: "default"}, &namespace); err != nil {
		t.Fatal(err)
	}
	namespace.Labels = map[string]string{"team": "a"}
	if err := w.c.Update(w.ctx, &namespace); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.wants("ingress of plain after its namespace was labelled", w.ingress("plain"), "198.51.100.1")
}

func TestAHandWrittenPlaceholderOnATakenAddressIsTold(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web"))
	w.settle()
	w.create(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "by-hand", Labels: map[string]string{placeholder.LabelVIP: "192-0-2-10"},
		Annotations: map[string]string{placeholder.AnnotationAddresses: "192.0.2.10"}}, Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName}})
	w.told()
	w.settle()
	w.wantsTold("Warning AddressTaken The address belongs to VIP 192-0-2-10")
	w.pod("by-hand") // it is not ours to delete
}

func TestPoolStatusSaysWhatIsUsedAndWrong(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.13", "192.0.2.9-192.0.2.1", "2001:db8::/64"), aService("web"))
	w.settle()
	var p v1alpha1.VIPPool
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: "main"}, &p); err != nil {
		t.Fatal(err)
	}
	if p.Status.IPv4 == nil || *p.Status.IPv4 != (v1alpha1.FamilyUsage{Assigned: 1, Available: 3}) || p.Status.IPv6 == nil || p.Status.IPv6.Available != 1<<53 {
		t.Errorf("status %+v %+v", p.Status.IPv4, p.Status.IPv6)
	}
	c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.PoolReady)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonReversedRange {
		t.Errorf("condition %+v", c)
	}
	change(w, &p, func(p *v1alpha1.VIPPool) { p.Spec.Addresses = []string{"192.0.2.50"} })
	w.settle()
	w.wants("the allocation stands", w.ingress("web"), "192.0.2.10")
}

func TestASubnetsOwnAddressesAreNeverHandedOut(t *testing.T) {
	node := &v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
		{Name: "eth0", MAC: "02:00:00:00:00:01", Addresses: []string{"192.0.2.1/29", "2001:db8::1/64"}, Carrier: true},
	}}}
	six := func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }
	w := newWorld(t, node, aPool("main", "192.0.2.0/29", "2001:db8::/120"), aService("a"), aService("six", six), aService("z", annotated(placeholder.AnnotationRequested, "192.0.2.7")))
	w.settle()
	w.wants("IPv4", w.ingress("a"), "192.0.2.2")
	w.wants("IPv6", w.ingress("six"), "2001:db8::2")
	w.wantsTold("AddressTaken 192.0.2.7 is the network, broadcast or anycast address of a subnet of node node-1")
}

package setup

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func (w *world) resize(pool string, addresses ...string) {
	w.t.Helper()
	var p v1alpha1.VIPPool
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: pool}, &p); err != nil {
		w.t.Fatal(err)
	}
	change(w, &p, func(p *v1alpha1.VIPPool) { p.Spec.Addresses = addresses })
}

func (w *world) annotate(service, key, value string) {
	w.t.Helper()
	change(w, w.service(service), annotated(key, value))
}

func families(policy corev1.IPFamilyPolicy, list ...corev1.IPFamily) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = &policy, list }
}

func TestAServiceWithSeveralVIPs(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.13"), aService("web", annotated(placeholder.AnnotationVIPs, "3")))
	w.reconcile(w.services, "default", "web")
	w.wants("ingress after one reconciliation", w.ingress("web"), "192.0.2.10,192.0.2.11,192.0.2.12")
	w.settle()
	group := w.pod("192-0-2-10-1").Labels[placeholder.LabelSpreadGroup]
	if group == "" || w.pod("192-0-2-12-1").Labels[placeholder.LabelSpreadGroup] != group {
		t.Errorf("labels %v and %v", w.pod("192-0-2-10-1").Labels, w.pod("192-0-2-12-1").Labels)
	}
	w.announce("192-0-2-10-1", "node-1")
	w.announce("192-0-2-11-1", "node-2")
	w.announce("192-0-2-12-1", "node-3")
	w.settle()
	c := meta.FindStatusCondition(w.service("web").Status.Conditions, v1alpha1.ServiceAnnounced)
	if want := "node-1 announces 192.0.2.10; node-2 announces 192.0.2.11; node-3 announces 192.0.2.12"; c == nil || c.Status != metav1.ConditionTrue || c.Message != want {
		t.Errorf("condition %+v", c)
	}
	w.told()

	w.restart()
	w.writes = nil
	w.settle()
	if events := w.told(); len(w.writes) > 0 || events != "" {
		t.Errorf("after a restart: writes %q, events %q", w.writes, events)
	}

	w.annotate("web", placeholder.AnnotationVIPs, "many")
	w.settle()
	w.wants("ingress with an annotation that can't be read", w.ingress("web"), "192.0.2.10,192.0.2.11,192.0.2.12")
	w.wantsTold(`Warning InvalidRequest annotation evenkeel.io/vips: "many" is not a whole number from 1 to 16`)

	w.annotate("web", placeholder.AnnotationVIPs, "1")
	w.settle()
	w.check()
	w.wants("ingress after lowering", w.ingress("web"), "192.0.2.10")
	w.wants("group of the only one", w.pod("192-0-2-10-1").Labels[placeholder.LabelSpreadGroup], "")
	for _, name := range []string{"192-0-2-11", "192-0-2-12"} {
		if w.vip(name).Spec.ReleasedAt == nil {
			t.Errorf("%s isn't released", name)
		}
	}
	w.annotate("web", placeholder.AnnotationVIPs, "2")
	w.settle()
	w.wants("ingress after raising", w.ingress("web"), "192.0.2.10,192.0.2.13")
	w.wants("group of what stood", w.pod("192-0-2-10-1").Labels[placeholder.LabelSpreadGroup], group)
	w.wants("term of what stood", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationTerm], "1")
}

func TestAServiceTakesAsManyVIPsAsThereAre(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.11"), aService("web", annotated(placeholder.AnnotationVIPs, "3")))
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10,192.0.2.11")
	w.wantsTold("Warning PoolExhausted")
	if w.services.Waiting() != 1 {
		t.Error("it doesn't count as waiting")
	}
	w.resize("main", "192.0.2.10-192.0.2.12")
	w.settle()
	w.wants("ingress after the pool has grown", w.ingress("web"), "192.0.2.10,192.0.2.11,192.0.2.12")
	if w.services.Waiting() != 0 {
		t.Error("it still counts as waiting")
	}
}

func TestOfSeveralVIPsTheYoungestGo(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.19"), aService("first"), aService("web"))
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.11")
	w.delete(w.service("first"))
	w.pass(1e9)
	w.pass(20e9)
	w.annotate("web", placeholder.AnnotationVIPs, "2")
	w.settle()
	w.wants("ingress of two", w.ingress("web"), "192.0.2.11,192.0.2.10")
	w.annotate("web", placeholder.AnnotationVIPs, "1")
	w.settle()
	w.check()
	w.wants("ingress of the one that stays", w.ingress("web"), "192.0.2.11")
}

func TestSeveralVIPsOfBothFamiliesAndAnAddressThatIsAskedFor(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.19", "2001:db8::10-2001:db8::19"),
		aService("web", annotated(placeholder.AnnotationVIPs, "2"), families(corev1.IPFamilyPolicyRequireDualStack, corev1.IPv6Protocol, corev1.IPv4Protocol)))
	w.settle()
	w.wants("ingress", w.ingress("web"), "2001:db8::10,2001:db8::11,192.0.2.10,192.0.2.11")
	if pair := w.vip("2001-db8-0-0-0-0-0-10").Spec.Addresses; strings.Join(pair, ",") != "2001:db8::10,192.0.2.10" {
		t.Errorf("addresses %v, want a pair", pair)
	}
	w.create(aService("asks", func(s *corev1.Service) {
		s.Annotations = map[string]string{placeholder.AnnotationVIPs: "3", placeholder.AnnotationRequested: "192.0.2.19"}
	}))
	w.settle()
	w.check()
	w.wants("ingress of the one that asks", w.ingress("asks"), "192.0.2.19,192.0.2.12,192.0.2.13")
	change(w, w.service("asks"), func(s *corev1.Service) { s.Annotations[placeholder.AnnotationVIPs] = "1" })
	w.settle()
	w.check()
	w.wants("of fewer the one asked for stays", w.ingress("asks"), "192.0.2.19")
}

package setup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/place"
)

// sharer is a Service that shares under the key "k", with one port.
func sharer(name string, port int32, changes ...func(*corev1.Service)) *corev1.Service {
	s := aService(name, annotated(placeholder.ForeignMetalLBSharing, "k"), onPort(port))
	for _, change := range changes {
		change(s)
	}
	return s
}

func onPort(port int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Port: port, Protocol: corev1.ProtocolTCP}}
	}
}

func localFor(selector string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.Selector = map[string]string{"app": selector}
	}
}

// check fails where an address is two VIPs', where two Services have one port on one VIP, or where an ingress shows what no VIP of
// the Service has.
func (w *world) check() {
	w.t.Helper()
	var services corev1.ServiceList
	w.list(&services)
	byUID := map[string]*corev1.Service{}
	for i := range services.Items {
		byUID[string(services.Items[i].UID)] = &services.Items[i]
	}
	var vips v1alpha1.VIPList
	w.list(&vips)
	owners, has := map[string]string{}, map[string]bool{}
	for _, v := range vips.Items {
		ports := map[placeholder.Port]string{}
		for _, addr := range v.Spec.Addresses {
			if other, double := owners[addr]; double {
				w.t.Errorf("%s is an address of %s and of %s", addr, other, v.Name)
			}
			owners[addr] = v.Name
		}
		for _, ref := range v.Spec.Services {
			s := byUID[string(ref.UID)]
			if s == nil {
				w.t.Errorf("%s is used by %s, which is gone", v.Name, ref.Name)
				continue
			}
			for _, addr := range v.Spec.Addresses {
				has[ref.Name+" "+addr] = true
			}
			for _, port := range place.Ports(s) {
				if other, double := ports[port]; double {
					w.t.Errorf("%s and %s have %s of %s", other, ref.Name, port, v.Name)
				}
				ports[port] = ref.Name
			}
		}
	}
	for _, s := range byUID {
		for _, in := range s.Status.LoadBalancer.Ingress {
			if !has[s.Name+" "+in.IP] {
				w.t.Errorf("%s shows %s, which none of its VIPs has", s.Name, in.IP)
			}
		}
	}
}

func TestServicesOfOneKeyShareAnAddressAndItsPlaceholder(t *testing.T) {
	w := newWorld(t, append(aNode(1), aPool("main", "192.0.2.10-192.0.2.12"), sharer("a", 80))...)
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.told()
	w.writes = nil
	w.create(sharer("b", 81))
	w.create(sharer("c", 53, func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }))
	w.create(sharer("other-key", 82, annotated(placeholder.AnnotationSharing, "l")))
	w.settle()
	w.check()
	w.wants("ingress of b", w.ingress("b"), "192.0.2.10")
	w.wants("ingress of c", w.ingress("c"), "192.0.2.10")
	w.wants("ingress of another key", w.ingress("other-key"), "192.0.2.11")
	w.wantsTold("Normal Allocated Allocated 192.0.2.10, which is shared with other Services of the same key")
	pod, err := placeholder.Parse(w.pod("192-0-2-10-1"))
	if err != nil || placeholder.FormatPorts(pod.Ports) != "tcp/80,tcp/81,udp/53" || pod.Term != 1 || pod.Node != "node-1" {
		t.Errorf("placeholder %+v, %v", pod, err)
	}
	w.wants("Services of the placeholder", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationService], "default/a,default/b,default/c")
	w.wants("Services of the VIP", w.vip("192-0-2-10").Status.Services, "default/a,default/b,default/c")
	for _, name := range []string{"a", "b", "c"} {
		if c := meta.FindStatusCondition(w.service(name).Status.Conditions, v1alpha1.ServiceAnnounced); c == nil || !strings.Contains(c.Message, "node-1 announces 192.0.2.10") {
			t.Errorf("%s: condition %+v", name, c)
		}
	}

	w.restart()
	w.writes = nil
	w.settle()
	if len(w.writes) > 0 {
		t.Errorf("writes after a restart: %q", w.writes)
	}

	w.delete(w.service("a")) // the first one
	w.settle()
	w.check()
	w.wants("Services after one has left", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationService], "default/b,default/c")
	w.wants("ports after one has left", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationPorts], "tcp/81,udp/53")
	if v := w.vip("192-0-2-10"); v.Status.LastMove != nil || v.Status.Term != 1 || v.Status.Node != "node-1" {
		t.Errorf("status %+v", v.Status)
	}
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	w.delete(w.service("b"))
	change(w, w.service("c"), func(s *corev1.Service) { s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeClusterIP, nil })
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	if w.vip("192-0-2-10").Spec.ReleasedAt == nil {
		t.Error("the last Service has left, and the VIP isn't released")
	}
	w.pass(20 * time.Second)
	w.gone(&v1alpha1.VIP{}, "192-0-2-10")
}

func TestWhoCannotShare(t *testing.T) {
	asking := func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.10" }
	tests := []struct {
		name          string
		first, second *corev1.Service
		ingress, told string
	}{
		{"the same port: an address of its own", sharer("a", 80), sharer("b", 80), "192.0.2.11", ""},
		{"the same port of an address that it asks for", sharer("a", 80), sharer("b", 80, asking), "", "NotShareable 192.0.2.10 can't be shared: Service default/a has its port tcp/80"},
		{"another policy", sharer("a", 80), sharer("b", 81, asking, localFor("x")), "", "Service default/a has another externalTrafficPolicy"},
		{"Local with another selector", sharer("a", 80, localFor("x")), sharer("b", 81, asking, localFor("y")), "", "Service default/a has externalTrafficPolicy Local, too, but not the same selector"},
		{"Local with the same selector", sharer("a", 80, localFor("x")), sharer("b", 81, localFor("x")), "192.0.2.10", "shared"},
		{"another key", sharer("a", 80), sharer("b", 81, asking, annotatedToo(placeholder.ForeignMetalLBSharing, "l")), "", "Service default/a shares it under another key"},
		{"a first one that doesn't share", aService("a"), sharer("b", 81, asking), "", "Service default/a doesn't share it: that takes the same annotation evenkeel.io/allow-shared-ip on both"},
		{"a second one that doesn't", sharer("a", 80), aService("b", onPort(81), asking), "", "AddressTaken 192.0.2.10 is taken by Service default/a"},
		{"our annotation wins over the foreign one", sharer("a", 80), sharer("b", 81, annotatedToo(placeholder.AnnotationSharing, "l")), "192.0.2.11", ""},
		{"another family", sharer("a", 80), sharer("b", 81, func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }), "2001:db8::10", ""},
		{"another pool", sharer("a", 80), sharer("b", 81, annotatedToo(placeholder.AnnotationPool, "other")), "192.0.2.20", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12", "2001:db8::10"), aPool("other", "192.0.2.20"))
			w.create(tt.first.DeepCopy())
			w.settle()
			w.told()
			w.create(tt.second.DeepCopy())
			w.settle()
			w.check()
			w.wants("ingress", w.ingress("b"), tt.ingress)
			w.wants("ingress of the first", w.ingress("a"), "192.0.2.10")
			w.wantsTold(tt.told)
			if w.delete(w.service("a")); tt.ingress == "" {
				w.pass(time.Second)
				w.pass(20 * time.Second)
				w.pass(time.Second)
				w.wants("ingress once the first is gone", w.ingress("b"), "192.0.2.10")
			}
		})
	}
}

func annotatedToo(key, value string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Annotations[key] = value }
}

func TestALiveChangeThatCollidesSendsTheYoungerAway(t *testing.T) {
	asking := func(s *corev1.Service) { s.Spec.LoadBalancerIP = "192.0.2.10" }
	tests := []struct {
		name    string
		second  *corev1.Service
		changed string
		change  func(*corev1.Service)
		ingress string
	}{
		{"the younger takes the older's port", sharer("b", 81), "b", onPort(80), "192.0.2.11"},
		{"the older takes the younger's port", sharer("b", 81), "a", onPort(81), "192.0.2.11"},
		{"another policy of the older", sharer("b", 81), "a", localFor("x"), "192.0.2.11"},
		{"another key of the younger", sharer("b", 81), "b", annotated(placeholder.AnnotationSharing, "l"), "192.0.2.11"},
		{"the younger shares no longer", sharer("b", 81), "b", func(s *corev1.Service) { s.Annotations = nil }, "192.0.2.11"},
		{"the older shares no longer", sharer("b", 81), "a", func(s *corev1.Service) { s.Annotations = nil }, "192.0.2.11"},
		{"who asked for the address waits", sharer("b", 81, asking), "a", onPort(81), ""},
		{"a port that is free: nobody leaves", sharer("b", 81), "a", onPort(82), "192.0.2.10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), sharer("a", 80))
			w.settle()
			w.create(tt.second.DeepCopy())
			w.settle()
			w.wants("ingress before", w.ingress("b"), "192.0.2.10")
			w.told()
			change(w, w.service(tt.changed), tt.change)
			w.settle()
			w.check()
			w.wants("ingress of the older", w.ingress("a"), "192.0.2.10")
			w.wants("ingress of the younger", w.ingress("b"), tt.ingress)
			if tt.ingress != "192.0.2.10" {
				w.wantsTold("Warning NotShareable 192.0.2.10 can't be shared any longer: Service default/a")
			}
			if tt.ingress == "" {
				change(w, w.service("a"), onPort(80))
				w.settle()
				w.check()
				w.wants("ingress of the younger once the port is free", w.ingress("b"), "192.0.2.10")
			}
			if _, err := placeholder.Parse(w.pod("192-0-2-10-1")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAVIPThatWasJoinedIsNotReleased(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), sharer("a", 80))
	w.settle()
	w.create(sharer("b", 81))
	// The VIP's own reconciliation has read the VIP, and the Service is gone; then another one joins before the release is written.
	w.delete(w.service("a"))
	first := true
	w.refuse = func(verb string, obj client.Object) error {
		if v, ok := obj.(*v1alpha1.VIP); ok && verb == "patch" && v.Spec.ReleasedAt != nil && first {
			first = false
			w.reconcile(w.services, "default", "b")
		}
		return nil
	}
	w.reconcile(w.vips, "", "192-0-2-10")
	w.settle()
	w.check()
	w.wants("ingress", w.ingress("b"), "192.0.2.10")
	if v := w.vip("192-0-2-10"); v.Spec.ReleasedAt != nil || len(v.Spec.Services) != 1 {
		t.Errorf("spec %+v", v.Spec)
	}
}

func TestAJoinOntoAnOlderStateIsTriedAgain(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), sharer("a", 80))
	w.settle()
	w.create(sharer("b", 81))
	change(w, w.vip("192-0-2-10"), func(v *v1alpha1.VIP) { v.Labels = map[string]string{"written": "by another"} }) // no watch has shown it
	w.reconcile(w.services, "default", "b")
	w.settle()
	w.check()
	w.wants("ingress", w.ingress("b"), "192.0.2.10")
}

func TestSharersWhoseVIPsAreLostShareAgain(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12"), sharer("a", 80, annotatedToo(placeholder.AnnotationRequested, "192.0.2.11")))
	w.settle()
	w.create(sharer("b", 81))
	w.settle()
	change(w, w.service("a"), func(s *corev1.Service) { delete(s.Annotations, placeholder.AnnotationRequested) })
	w.delete(w.vip("192-0-2-11"))
	w.delete(w.pod("192-0-2-11-1"))
	w.restart()
	w.settle()
	w.check()
	w.wants("ingress of a", w.ingress("a"), "192.0.2.11")
	w.wants("ingress of b", w.ingress("b"), "192.0.2.11")
}

func TestManySharersFillOneAddressAfterTheOther(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.19"))
	for i := range 12 {
		w.create(sharer(fmt.Sprintf("s-%02d", i), 80+int32(i%4)))
	}
	w.settle()
	w.check()
	counts := map[string]int{}
	for i := range 12 {
		counts[w.ingress(fmt.Sprintf("s-%02d", i))]++
	}
	if len(counts) != 3 || counts["192.0.2.10"] != 4 {
		t.Errorf("Services per address: %v", counts)
	}
}

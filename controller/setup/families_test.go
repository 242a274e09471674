package setup

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
)

const (
	single  = corev1.IPFamilyPolicySingleStack
	prefer  = corev1.IPFamilyPolicyPreferDualStack
	require = corev1.IPFamilyPolicyRequireDualStack
	v4, v6  = corev1.IPv4Protocol, corev1.IPv6Protocol
)

func TestALiveServiceGetsItsSecondFamilyAndLosesIt(t *testing.T) {
	for _, policy := range []corev1.IPFamilyPolicy{prefer, require} {
		t.Run(string(policy), func(t *testing.T) {
			w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12", "2001:db8::10-2001:db8::12"), aService("web", families(single, v4)))
			w.settle()
			w.announce("192-0-2-10-1", "node-1")
			w.settle()
			change(w, w.service("web"), families(policy, v4, v6))
			w.settle()
			w.check()
			w.wants("ingress of both", w.ingress("web"), "192.0.2.10,2001:db8::10")
			w.wants("placeholder of the second", w.pod("2001-db8-0-0-0-0-0-10-1").Annotations[placeholder.AnnotationAddresses], "2001:db8::10")
			w.wants("term of what stood", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationTerm], "1")
			w.wants("group", w.pod("192-0-2-10-1").Labels[placeholder.LabelSpreadGroup], "")
			w.restart()
			w.writes = nil
			w.settle()
			if len(w.writes) > 0 {
				t.Errorf("writes after a restart: %q", w.writes)
			}
			change(w, w.service("web"), families(single, v4))
			w.settle()
			w.check()
			w.wants("ingress of one again", w.ingress("web"), "192.0.2.10")
			if w.vip("2001-db8-0-0-0-0-0-10").Spec.ReleasedAt == nil {
				t.Error("the VIP of the family that went isn't released")
			}
		})
	}
}

func TestAPairThatServesOneFamilyStaysAPair(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12", "2001:db8::10-2001:db8::12"), aService("web", families(require, v4, v6)))
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10,2001:db8::10")
	change(w, w.service("web"), families(require, v6, v4))
	w.settle()
	w.wants("ingress in the other order", w.ingress("web"), "2001:db8::10,192.0.2.10")
	change(w, w.service("web"), families(single, v6))
	w.settle()
	w.wants("ingress of IPv6", w.ingress("web"), "2001:db8::10")
	if v := w.vip("192-0-2-10"); v.Spec.ReleasedAt != nil || len(v.Spec.Addresses) != 2 {
		t.Errorf("the pair: %+v", v.Spec)
	}
	change(w, w.service("web"), families(prefer, v6, v4))
	w.settle()
	w.check()
	w.wants("ingress of both again", w.ingress("web"), "2001:db8::10,192.0.2.10")
}

func TestWhoPrefersBothFamiliesTakesTheSecondWhenAPoolGetsIt(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web", families(prefer, v4, v6)))
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
	if w.services.Waiting() != 0 {
		t.Error("it counts as waiting")
	}
	w.pass(3600e9)
	if events := w.told(); strings.Contains(events, "Exhausted") {
		t.Errorf("it is content, and told: %s", events)
	}
	w.create(aPool("six", "2001:db8::10"))
	w.watch()
	for _, key := range w.services.Pending() { // whom the ledger's change wakes
		w.reconcile(w.services, key.Namespace, key.Name)
	}
	w.settle()
	w.check()
	w.wants("ingress", w.ingress("web"), "192.0.2.10,2001:db8::10")
}

func TestWhoRequiresBothFamiliesKeepsWhatItHasAndIsTold(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web", families(single, v4)))
	w.settle()
	change(w, w.service("web"), families(require, v4, v6))
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10")
	w.wantsTold("Warning PoolExhausted No free IPv6 address")
	if w.services.Waiting() != 1 {
		t.Error("it doesn't count as waiting")
	}
	w.resize("main", "192.0.2.10", "2001:db8::10")
	w.settle()
	w.wants("ingress", w.ingress("web"), "192.0.2.10,2001:db8::10")
}

func TestAServiceWhoseFamilyChangesWhollyIsServedUntilItsSuccessorIsThere(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10"), aService("web", families(single, v4)))
	w.settle()
	change(w, w.service("web"), families(single, v6))
	w.settle()
	w.wants("ingress while there is no IPv6", w.ingress("web"), "192.0.2.10")
	w.resize("main", "192.0.2.10", "2001:db8::10")
	w.settle()
	w.check()
	w.wants("ingress", w.ingress("web"), "2001:db8::10")
	if w.vip("192-0-2-10").Spec.ReleasedAt == nil {
		t.Error("the VIP of the family that went isn't released")
	}
}

func TestAnAskedAddressOfASecondFamilyIsAddedToTheFirst(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12", "2001:db8::10-2001:db8::19"), aService("web", annotated(placeholder.AnnotationRequested, "192.0.2.12")))
	w.settle()
	change(w, w.service("web"), func(s *corev1.Service) {
		s.Annotations[placeholder.AnnotationRequested] = "192.0.2.12,2001:db8::15"
		families(prefer, v4, v6)(s)
	})
	w.settle()
	w.check()
	w.wants("ingress", w.ingress("web"), "192.0.2.12,2001:db8::15")
}

func TestBothFamiliesAreSharedOneByOne(t *testing.T) {
	w := newWorld(t, aPool("main", "192.0.2.10-192.0.2.12", "2001:db8::10-2001:db8::19"), sharer("a", 80, families(require, v4, v6)), sharer("b", 81), sharer("c", 82, families(prefer, v6, v4)))
	w.settle()
	w.check()
	w.wants("ingress of a", w.ingress("a"), "192.0.2.10,2001:db8::10")
	w.wants("ingress of b", w.ingress("b"), "192.0.2.10")
	w.wants("ingress of c", w.ingress("c"), "2001:db8::10,192.0.2.10")
	w.delete(w.service("a"))
	change(w, w.service("c"), families(single, v6))
	w.settle()
	w.check()
	w.wants("ingress of b", w.ingress("b"), "192.0.2.10")
	w.wants("ingress of c", w.ingress("c"), "2001:db8::10")
}

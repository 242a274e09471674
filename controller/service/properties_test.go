package service

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// model is Services, plans and the ledger, without an API server.
type model struct {
	t        *rapid.T
	l        *ledger.Ledger
	clock    *testclock.FakeClock
	vips     map[string]*v1alpha1.VIP
	services map[string]*corev1.Service
	version  int
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, clock: testclock.NewFakeClock(time.Unix(0, 0)), vips: map[string]*v1alpha1.VIP{}, services: map[string]*corev1.Service{}}
	m.l = ledger.New(m.clock, 16*time.Second)
	for name, addresses := range map[string][]string{"main": {"192.0.2.10-192.0.2.15", "2001:db8::10-2001:db8::13"}, "other": {"198.51.100.1-198.51.100.3"}} {
		m.l.ObservePool(&v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.VIPPoolSpec{Addresses: addresses}})
	}
	return m
}

// write puts a VIP, or ends it where no Service is left.
func (m *model) write(vip *v1alpha1.VIP) {
	m.version++
	vip.ResourceVersion = strconv.Itoa(m.version)
	m.vips[vip.Name] = vip
	m.l.ObserveVIP(vip)
	if len(vip.Spec.Services) == 0 {
		m.l.ForgetVIP(vip)
		delete(m.vips, vip.Name)
	}
}

func (m *model) leave(name string, uid types.UID) {
	vip := m.vips[name].DeepCopy()
	vip.Spec.Services = slices.DeleteFunc(vip.Spec.Services, func(ref v1alpha1.ServiceReference) bool { return ref.UID == uid })
	m.write(vip)
}

// reconcile takes one Service's turn, as Reconciler does, and says whether it changed anything.
func (m *model) reconcile(s *corev1.Service) (changed bool) {
	taker := takerOf(s)
	m.l.Declare(taker)
	w, invalid := parseWish(s)
	w.count, _ = place.VIPs(s)
	p := m.plan(s)
	r := &Reconciler{Ledger: m.l}
	for invalid == nil && p.need != nil {
		request := r.request(s, w, *p.need)
		request.Allowed = nil
		grant, _, err := m.l.Take(request, taker)
		if err != nil {
			break
		}
		changed = true
		vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: grant.VIP, CreationTimestamp: metav1.NewTime(m.clock.Now())}, Spec: v1alpha1.VIPSpec{Pool: grant.Pool}}
		for _, addr := range grant.Addresses {
			vip.Spec.Addresses = append(vip.Spec.Addresses, addr.String())
		}
		if existing := m.vips[grant.VIP]; (existing != nil) != grant.Joins {
			m.t.Fatalf("%s was given %+v, and the VIP is %+v", s.Name, grant, existing)
		} else if existing != nil {
			vip = existing.DeepCopy()
		}
		vip.Spec.Services = append(vip.Spec.Services, reference(taker))
		m.write(vip)
		p = m.plan(s)
	}
	if len(p.serve) > 0 || len(p.collisions) > 0 {
		serving.SetIngress(&s.Status, p.serve)
	}
	leave := p.leave
	if invalid != nil {
		leave = collided(p.collisions)
	}
	for _, vip := range leave {
		changed = true
		m.leave(vip.Name, s.UID)
	}
	return changed
}

func (m *model) plan(s *corev1.Service) plan {
	w, _ := parseWish(s)
	w.count, _ = place.VIPs(s)
	r := &Reconciler{Ledger: m.l}
	return r.plan(s, w, takerOf(s))
}

func (m *model) settle() {
	quiet := 0
	for range 10 {
		changed := false
		for _, name := range slices.Sorted(maps.Keys(m.services)) {
			changed = m.reconcile(m.services[name]) || changed
		}
		if quiet++; changed {
			quiet = 0
		}
		if quiet == 2 { // what the last one has declared may concern the first
			return
		}
	}
	m.t.Fatal("10 rounds and still changing")
}

// check fails where two VIPs have one address, or two Services one port on one VIP, or where Services share that may not.
func (m *model) check() {
	owners := map[string]string{}
	for _, vip := range m.vips {
		for _, addr := range vip.Spec.Addresses {
			if other, double := owners[addr]; double {
				m.t.Fatalf("%s is of %s and %s", addr, other, vip.Name)
			}
			owners[addr] = vip.Name
		}
		for i, ref := range vip.Spec.Services {
			for _, other := range vip.Spec.Services[:i] {
				a, b := m.services[other.Name], m.services[ref.Name]
				if why := takerOf(b).Sharing.Against(takerOf(a).Sharing, a.Name); why != "" {
					m.t.Fatalf("%s and %s share %s: %s", a.Name, b.Name, vip.Name, why)
				}
			}
		}
	}
}

func (m *model) served() map[string][]netip.Addr {
	served := map[string][]netip.Addr{}
	for name, s := range m.services {
		served[name] = m.plan(s).serve
	}
	return served
}

// sharesWith lists the Services that share a VIP with one.
func (m *model) sharesWith(name string) map[string]bool {
	with := map[string]bool{}
	for _, vip := range m.vips {
		if slices.ContainsFunc(vip.Spec.Services, func(ref v1alpha1.ServiceReference) bool { return ref.Name == name }) {
			for _, ref := range vip.Spec.Services {
				with[ref.Name] = true
			}
		}
	}
	return with
}

// draw changes a Service as its owner might.
func draw(t *rapid.T, s *corev1.Service) {
	keys := map[string]string{}
	if key := rapid.SampledFrom([]string{"", "k", "k", "l"}).Draw(t, "key"); key != "" {
		keys[placeholder.AnnotationSharing] = key
	}
	if pool := rapid.SampledFrom([]string{"", "", "", "main", "other"}).Draw(t, "pool"); pool != "" {
		keys[placeholder.AnnotationPool] = pool
	}
	if n := rapid.SampledFrom([]string{"", "", "2", "3"}).Draw(t, "vips"); n != "" {
		keys[placeholder.AnnotationVIPs] = n
	}
	if asked := rapid.SampledFrom([]string{"", "", "", "192.0.2.10", "192.0.2.11", "2001:db8::11"}).Draw(t, "asked"); asked != "" {
		keys[placeholder.AnnotationRequested] = asked
	}
	s.Annotations = keys
	policy := rapid.SampledFrom([]corev1.IPFamilyPolicy{corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack}).Draw(t, "policy")
	s.Spec.IPFamilyPolicy = &policy
	s.Spec.IPFamilies = rapid.SampledFrom([][]corev1.IPFamily{{corev1.IPv4Protocol, corev1.IPv6Protocol}, {corev1.IPv6Protocol, corev1.IPv4Protocol}}).Draw(t, "families")
	if policy == corev1.IPFamilyPolicySingleStack {
		s.Spec.IPFamilies = s.Spec.IPFamilies[:1]
	}
	s.Spec.Ports = []corev1.ServicePort{{Port: int32(rapid.IntRange(80, 83).Draw(t, "port")), Protocol: corev1.ProtocolTCP}}
	s.Spec.ExternalTrafficPolicy, s.Spec.Selector = corev1.ServiceExternalTrafficPolicyCluster, map[string]string{"app": "x"}
	if rapid.IntRange(0, 3).Draw(t, "local") == 0 {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
}

// TestPropertyWhoSharesAndWhoStays: whatever Services come, go and change, no address is two VIPs', no port two Services' on one VIP,
// and the addresses of a Service that nobody changed stay, unless a change of who shares with it has sent it away.
func TestPropertyWhoSharesAndWhoStays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for step := range rapid.IntRange(1, 25).Draw(t, "steps") {
			before, touched, with := m.served(), "", map[string]bool{}
			names := slices.Sorted(maps.Keys(m.services))
			what := rapid.IntRange(0, 3).Draw(t, "what")
			m.clock.Step(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
			switch {
			case what < 2 || len(names) == 0:
				touched = fmt.Sprintf("s-%02d", step)
				s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: touched, UID: types.UID("uid-" + touched)}}
				draw(t, s)
				m.services[touched] = s
			case what == 2:
				touched = rapid.SampledFrom(names).Draw(t, "changed")
				with = m.sharesWith(touched)
				s := m.services[touched].DeepCopy()
				draw(t, s)
				m.services[touched] = s
			default:
				touched = rapid.SampledFrom(names).Draw(t, "deleted")
				uid := m.services[touched].UID
				delete(m.services, touched)
				m.l.Undeclare(uid)
				for _, vip := range m.l.VIPsOf(uid) {
					m.leave(vip.Name, uid)
				}
			}
			m.settle()
			m.check()
			for name, had := range before {
				if name == touched || with[name] || m.services[name] == nil {
					continue
				}
				after := m.plan(m.services[name]).serve
				asked := m.services[name].Annotations[placeholder.AnnotationRequested] != "" || m.services[name].Annotations[placeholder.AnnotationPool] != ""
				if slices.ContainsFunc(had, func(a netip.Addr) bool { return !slices.Contains(after, a) }) && !asked {
					t.Fatalf("%s was changed, and %s has %v instead of %v", touched, name, after, had)
				}
			}
		}
	})
}

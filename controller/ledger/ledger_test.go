package ledger

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newLedger(addresses ...string) (*Ledger, *testclock.FakeClock) {
	clock := testclock.NewFakeClock(epoch)
	l := New(clock, 16*time.Second)
	l.ObservePool(&v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Name: "main"}, Spec: v1alpha1.VIPPoolSpec{Addresses: addresses}})
	return l, clock
}

func taker(name string) Taker {
	return Taker{NamespacedName: types.NamespacedName{Namespace: "default", Name: name}, UID: types.UID("uid-" + name)}
}

func vipOf(address, service, uid, version string) *v1alpha1.VIP {
	v := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: placeholder.VIPName(netip.MustParseAddr(address)), UID: types.UID(uid), ResourceVersion: version}, Spec: v1alpha1.VIPSpec{Addresses: []string{address}}}
	if service != "" {
		v.Spec.Services = []v1alpha1.ServiceReference{{Namespace: "default", Name: service, UID: types.UID("uid-" + service)}}
	}
	return v
}

func take(l *Ledger, service string) string {
	a, _, err := l.Take(ipam.Request{Families: []ipam.Family{ipam.IPv4}}, taker(service))
	if err != nil {
		var refusal *ipam.Refusal
		if errors.As(err, &refusal) {
			return string(refusal.Reason)
		}
		return err.Error()
	}
	return placeholder.FormatAddresses(a.Addresses)
}

func TestTakeNeverGivesAnAddressTwiceUnderConcurrency(t *testing.T) {
	l, _ := newLedger("192.0.2.0/25")
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20 {
				address := take(l, fmt.Sprintf("s-%d-%d", worker, i))
				mu.Lock()
				got[address]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if refused := got[string(ipam.PoolExhausted)]; refused != 160-128 || len(got) != 129 {
		t.Errorf("%d refused, %d different answers", refused, len(got))
	}
}

func TestWhatWasCreatedCountsBeforeAnyWatchShowsIt(t *testing.T) {
	l, _ := newLedger("192.0.2.1-192.0.2.2")
	if got := take(l, "a"); got != "192.0.2.1" {
		t.Fatal(got)
	}
	if got := take(l, "b"); got != "192.0.2.2" {
		t.Fatal(got)
	}
	if got := take(l, "c"); got != "PoolExhausted" {
		t.Fatal(got)
	}
	l.Abandon(Grant{VIP: "192-0-2-1"}, taker("a"))
	if got := take(l, "c"); got != "192.0.2.1" {
		t.Fatal(got)
	}
}

func TestAnOlderStateIsIgnored(t *testing.T) {
	l, _ := newLedger()
	released := vipOf("192.0.2.1", "", "one", "20")
	l.ObserveVIP(released)
	l.ObserveVIP(vipOf("192.0.2.1", "web", "one", "9")) // a watch that lags
	if len(l.VIPsOf("uid-web")) != 0 || l.VIP("192-0-2-1") != released {
		t.Error("an older state was taken in")
	}
	l.ForgetVIP(vipOf("192.0.2.1", "", "before", "5")) // the deletion of an earlier VIP of that name
	if l.VIP("192-0-2-1") == nil {
		t.Error("another VIP's deletion was taken for this one's")
	}
}

func TestAVIPThatVanishedIsQuarantinedForOthers(t *testing.T) {
	l, clock := newLedger("192.0.2.1")
	v := vipOf("192.0.2.1", "web", "one", "1")
	l.ObserveVIP(v)
	l.ForgetVIP(v)
	if got := take(l, "other"); got != "PoolExhausted" {
		t.Errorf("another Service got %s", got)
	}
	_, retry, _ := l.Take(ipam.Request{Families: []ipam.Family{ipam.IPv4}}, taker("other"))
	if !retry.Equal(epoch.Add(16 * time.Second)) {
		t.Errorf("to be tried again at %s", retry)
	}
	clock.Step(16 * time.Second)
	if got := take(l, "other"); got != "192.0.2.1" {
		t.Errorf("after the quarantine: %s", got)
	}
}

func TestAReleasedVIPThatWaitedIsFreeAtOnce(t *testing.T) {
	l, clock := newLedger("192.0.2.1")
	v := vipOf("192.0.2.1", "", "one", "1")
	at := metav1.NewTime(epoch)
	v.Spec.ReleasedAt = &at
	l.ObserveVIP(v)
	clock.Step(16 * time.Second)
	var told []Change
	l.OnChange(func(c Change) { told = append(told, c) })
	l.ForgetVIP(v)
	if len(told) != 1 || !told[0].Freed || told[0].VIP != v.Name {
		t.Errorf("listeners were told %+v", told)
	}
	if got := take(l, "other"); got != "192.0.2.1" {
		t.Errorf("got %s", got)
	}
}

func TestNodesAndPodsTakeTheirAddresses(t *testing.T) {
	l, _ := newLedger("192.0.2.1-192.0.2.4")
	l.ObserveNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}}})
	l.ObserveVIPNode(&v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{{Name: "eth0", Addresses: []string{"192.0.2.2/24"}}}}})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "by-hand", Labels: map[string]string{placeholder.LabelVIP: "192-0-2-3"}, Annotations: map[string]string{placeholder.AnnotationAddresses: "192.0.2.3"}}, Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName}}
	l.ObservePod(pod)
	if got := take(l, "a"); got != "192.0.2.4" {
		t.Errorf("got %s", got)
	}
	if got := l.PodsOn([]netip.Addr{netip.MustParseAddr("192.0.2.3")}); len(got) != 1 || got[0] != "by-hand" {
		t.Errorf("pods %v", got)
	}
	l.ForgetNode("n") // its VIPNode is still there
	if got := take(l, "b"); got != "192.0.2.1" {
		t.Errorf("got %s", got)
	}
	l.ForgetVIPNode("n")
	l.ForgetPod("by-hand")
	if got := take(l, "c") + take(l, "d"); got != "192.0.2.2192.0.2.3" {
		t.Errorf("got %s", got)
	}
}

func TestSubnetAddresses(t *testing.T) {
	for prefix, want := range map[string]string{
		"192.0.2.77/24": "192.0.2.0,192.0.2.255", "192.0.2.1/30": "192.0.2.0,192.0.2.3", "192.0.2.1/31": "", "192.0.2.1/32": "",
		"2001:db8::5/64": "2001:db8::", "2001:db8::1/127": "", "2001:db8::1/128": "",
	} {
		if got := placeholder.FormatAddresses(subnetAddresses(netip.MustParsePrefix(prefix))); got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
}

package ledger

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
)

// sharer is a Service with a key and one port.
func sharer(name, key string, port uint16) Taker {
	t := taker(name)
	t.Sharing = ipam.Sharing{Key: key, Ports: []placeholder.Port{{Protocol: "tcp", Port: port}}}
	return t
}

// store plays the API server: it writes what was granted.
type store struct {
	mu      sync.Mutex
	version int
	vips    map[string]*v1alpha1.VIP
}

func (s *store) write(grant Grant, by Taker) *v1alpha1.VIP {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	v := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: grant.VIP}, Spec: v1alpha1.VIPSpec{Pool: grant.Pool}}
	for _, addr := range grant.Addresses {
		v.Spec.Addresses = append(v.Spec.Addresses, addr.String())
	}
	if known := s.vips[grant.VIP]; known != nil {
		v = known.DeepCopy()
	}
	v.ResourceVersion = strconv.Itoa(s.version)
	v.Spec.Services = append(v.Spec.Services, v1alpha1.ServiceReference{Namespace: by.Namespace, Name: by.Name, UID: by.UID})
	s.vips[v.Name] = v
	return v
}

var anyIPv4 = ipam.Request{Families: []ipam.Family{ipam.IPv4}}

func TestServicesOfOneKeyThatComeAtOnceShareOneAddress(t *testing.T) {
	l, _ := newLedger("192.0.2.0/25")
	api := &store{vips: map[string]*v1alpha1.VIP{}}
	var wg sync.WaitGroup
	for i := range 24 { // three with each port: three addresses
		wg.Go(func() {
			by := sharer(fmt.Sprintf("s-%d", i), "k", uint16(80+i%8))
			l.Declare(by)
			for {
				grant, _, err := l.Take(anyIPv4, by)
				if errors.Is(err, ErrForming) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				l.ObserveVIP(api.write(grant, by))
				return
			}
		})
	}
	wg.Wait()
	if len(api.vips) > 4 {
		t.Errorf("%d addresses for what fits on 3", len(api.vips))
	}
	for name, v := range api.vips {
		ports := map[placeholder.Port]string{}
		for _, ref := range v.Spec.Services {
			port := l.sharing.declared[ref.UID].Ports[0]
			if other := ports[port]; other != "" {
				t.Errorf("%s and %s have %s of %s", other, ref.Name, port, name)
			}
			ports[port] = ref.Name
		}
	}
	if len(l.sharing.forming)+len(l.sharing.joining) > 0 {
		t.Errorf("left behind: %v, %v", l.sharing.forming, l.sharing.joining)
	}
}

func TestWhoIsJoiningCounts(t *testing.T) {
	l, _ := newLedger("192.0.2.1-192.0.2.2")
	api := &store{vips: map[string]*v1alpha1.VIP{}}
	a, b, c := sharer("a", "k", 80), sharer("b", "k", 81), sharer("c", "k", 81)
	for _, by := range []Taker{a, b, c} {
		l.Declare(by)
	}
	first, _, _ := l.Take(anyIPv4, a)
	if _, _, err := l.Take(anyIPv4, b); !errors.Is(err, ErrForming) {
		t.Fatalf("while the VIP is being created: %v", err)
	}
	l.ObserveVIP(api.write(first, a))
	joins, _, _ := l.Take(anyIPv4, b)
	if !joins.Joins || joins.VIP != "192-0-2-1" {
		t.Fatalf("b was given %+v", joins)
	}
	if other, _, _ := l.Take(anyIPv4, c); other.Joins || other.VIP != "192-0-2-2" {
		t.Fatalf("c, whose port b is about to have, was given %+v", other)
	} else {
		l.Abandon(other, c)
	}
	l.Abandon(joins, b)
	if joins, _, _ = l.Take(anyIPv4, c); !joins.Joins {
		t.Errorf("after b gave up c was given %+v", joins)
	}
}

func TestAServiceThatIsGoneIsForgottenWithItsLastVIP(t *testing.T) {
	l, _ := newLedger("192.0.2.1")
	by := sharer("a", "k", 80)
	l.Declare(by)
	v := vipOf("192.0.2.1", "a", "one", "1")
	l.ObserveVIP(v)
	l.Undeclare(by.UID)
	if len(l.sharing.declared) != 1 {
		t.Error("forgotten while a VIP names it: its port would be given to another one too early")
	}
	l.ForgetVIP(v)
	if len(l.sharing.declared)+len(l.sharing.departed) > 0 {
		t.Errorf("left behind: %v, %v", l.sharing.declared, l.sharing.departed)
	}
}

func TestAVIPIsFull(t *testing.T) {
	l, _ := newLedger("192.0.2.1-192.0.2.2")
	api := &store{vips: map[string]*v1alpha1.VIP{}}
	for i := range MaxSharers + 1 {
		by := sharer(fmt.Sprint(i), "k", uint16(1000+i))
		l.Declare(by)
		grant, _, err := l.Take(anyIPv4, by)
		if err != nil {
			t.Fatal(err)
		}
		l.ObserveVIP(api.write(grant, by))
	}
	if n := len(api.vips["192-0-2-1"].Spec.Services); n != MaxSharers || len(l.VIPsOf("uid-64")) != 1 || l.VIPsOf("uid-64")[0].Spec.Addresses[0] != "192.0.2.2" {
		t.Errorf("%d share the first address", n)
	}
	asks := sharer("asks", "k", 99)
	l.Declare(asks)
	r := anyIPv4
	r.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	if _, _, err := l.Take(r, asks); err == nil || !errors.As(err, new(*ipam.Refusal)) {
		t.Errorf("got %v", err)
	}
}

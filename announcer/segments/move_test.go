package segments

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/agent"
	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/guard"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/probe"
	"evenkeel.io/evenkeel/announcer/quiet"
	"evenkeel.io/evenkeel/announcer/relay"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/announcer/wires"
	"evenkeel.io/evenkeel/api/placeholder"
)

func TestMain(m *testing.M) { nstest.Main(m) }

// Edges that this has no need of.
type (
	noWatch   struct{}
	noHandoff struct{}
	noTraffic struct{}
	noStore   struct{}
	noPods    struct{}
)

func (noWatch) SetNICs(context.Context, []nic.NIC)                 {}
func (noWatch) SetTargets([]liveness.Target)                       {}
func (noHandoff) Set(_ context.Context, _ relay.Wish, done func()) { done() }
func (noTraffic) Set([]traffic.VIP)                                {}
func (noStore) Save(state.State) error                             { return nil }
func (noPods) Observe(*corev1.Pod)                                 {}
func (noPods) Set(types.UID, report.Condition, time.Duration)      {}
func (noPods) Forget(types.UID)                                    {}

// node starts what an announcer is made of in the tests' namespace, without an API server.
func node(t *testing.T) *agent.Agent {
	t.Helper()
	var (
		a    *agent.Agent
		ctx  = t.Context()
		must = func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
	)
	ctx, cancel := context.WithCancel(ctx)
	binder, err := address.New(address.Options{Notify: func(event address.Event) { a.AddressEvent(ctx, event) }})
	must(err)
	limiter, err := announce.NewLimiter(announce.DefaultRate, announce.DefaultBurst, clock.RealClock{})
	must(err)
	announcer, err := announce.New(announce.Options{Limiter: limiter, Allowed: binder.Held})
	must(err)
	set := wires.New(wires.Options{
		Timing: probe.Quick(), Limiter: limiter, Announcer: announcer, Listen: func(string, probe.Heard) {},
		Heard: func(nicName string, h probe.Heard) {
			a.Heard(ctx, h.Addr, place.Said{From: h.MAC, NIC: nicName, Kind: h.Kind, Title: h.Title, Titled: h.Titled})
		},
	})
	table, err := quiet.New(quiet.Options{})
	must(err)
	must(table.Open(ctx))
	shield := guard.New(table, time.Minute, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	a = agent.New(agent.Options{
		Node: "node-1", Binder: binder, Wire: set, Watch: noWatch{}, Guard: shield, Handoff: noHandoff{}, Traffic: noTraffic{}, Store: noStore{}, Pods: noPods{},
		Metrics: agent.NewMetrics(prometheus.NewRegistry()), Clock: clock.RealClock{}, Place: place.DefaultConfig(),
		HostServed: func() bool { return false },
	})
	nics, err := nic.NewWatcher(nic.Options{Notify: func(nics []nic.NIC) { a.NICsChanged(ctx, nics) }})
	must(err)
	a.NICsChanged(ctx, nics.Snapshot())
	work := []func(context.Context) error{binder.Run, announcer.Run, set.Run, shield.Run, nics.Run, a.Run}
	done := make(chan error, len(work))
	for _, run := range work {
		go func() { done <- run(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		for range work {
			if err := <-done; err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
		_, _ = binder.Close(), nics.Close()
	})
	a.Synced(ctx)
	return a
}

func pod(vip netip.Addr, interfaces string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "evenkeel-system", Name: "a", UID: "a", Labels: map[string]string{placeholder.LabelVIP: placeholder.VIPName(vip)},
			Annotations: map[string]string{placeholder.AnnotationAddresses: vip.String(), placeholder.AnnotationInterfaces: interfaces},
		},
		Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName, NodeName: "node-1"},
	}
}

// on says whether an interface has an address.
func on(t *testing.T, link netlink.Link, addr netip.Addr) bool {
	t.Helper()
	list, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		if one.IP.Equal(addr.AsSlice()) {
			return true
		}
	}
	return false
}

// knows says whether the machine at the other end of a NIC's wire has the NIC's MAC address for addr, and asks if it has none at all.
func knows(t *testing.T, p *nstest.Pair, addr netip.Addr) bool {
	t.Helper()
	p.InPeer(t, func() {
		if conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String()); err == nil {
			_, _ = conn.Write([]byte("x"))
			_ = conn.Close()
		}
	})
	link, err := netlink.LinkByIndex(p.Index())
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.PeerHandle.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range list {
		if one.IP.Equal(addr.AsSlice()) {
			return bytes.Equal(one.HardwareAddr, link.Attrs().HardwareAddr)
		}
	}
	return false
}

// TestAVIPMovesWithTheCarrierAndWithThePoolsInterfaces, and each segment learns of it only what it should.
func TestAVIPMovesWithTheCarrierAndWithThePoolsInterfaces(t *testing.T) {
	for _, vip := range []netip.Addr{netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8:9::10")} {
		t.Run(vip.String(), func(t *testing.T) {
			first, second := nstest.NewPair(t, "eth0"), nstest.NewPair(t, "eth1")
			for p, digit := range map[*nstest.Pair]string{first: "1", second: "2"} {
				p.AddAddr(t, "192.0."+digit+".1/24")
				p.AddAddr(t, "2001:db8:"+digit+"::1/64")
				p.AddPeerAddr(t, "192.0."+digit+".2/24")
				p.AddPeerAddr(t, "2001:db8:"+digit+"::2/64")
				p.AddPeerAddr(t, "198.51.100."+digit+"/24")
				p.AddPeerAddr(t, "2001:db8:9::"+digit+"/64")
			}
			a := node(t)
			isOn := func(here, there *nstest.Pair) {
				t.Helper()
				name := here.Link.Attrs().Name
				nstest.Eventually(t, "the VIP on "+name, func() bool { return on(t, here.Link, vip) && !on(t, there.Link, vip) })
				nstest.Eventually(t, "the segment of "+name+" to know it", func() bool { return knows(t, here, vip) })
				for range 10 { // it asks at the first
					if knows(t, there, vip) {
						t.Fatalf("the segment of %s knows the VIP too", there.Link.Attrs().Name)
					}
					time.Sleep(20 * time.Millisecond)
				}
			}
			forget := func(p *nstest.Pair) {
				t.Helper()
				list, err := p.PeerHandle.NeighList(0, netlink.FAMILY_ALL)
				if err != nil {
					t.Fatal(err)
				}
				for _, one := range list {
					if one.IP.Equal(vip.AsSlice()) {
						_ = p.PeerHandle.NeighDel(&one)
					}
				}
			}
			a.PodChanged(t.Context(), pod(vip, "eth0,eth1"))
			isOn(first, second)

			peer, err := first.PeerHandle.LinkByName(first.Peer)
			if err != nil {
				t.Fatal(err)
			}
			if err := first.PeerHandle.LinkSetDown(peer); err != nil {
				t.Fatal(err)
			}
			nstest.Eventually(t, "the VIP on eth1", func() bool { return on(t, second.Link, vip) && !on(t, first.Link, vip) })
			nstest.Eventually(t, "its segment to know it", func() bool { return knows(t, second, vip) })

			if err := first.PeerHandle.LinkSetUp(peer); err != nil {
				t.Fatal(err)
			}
			for _, one := range []string{"2001:db8:1::2/64", "2001:db8:9::1/64"} { // the kernel drops these of an interface that is taken down
				first.AddPeerAddr(t, one)
			}
			forget(first)
			time.Sleep(300 * time.Millisecond) // nothing moves back
			isOn(second, first)

			a.PodChanged(t.Context(), pod(vip, "eth0"))
			nstest.Eventually(t, "the VIP on eth0", func() bool { return on(t, first.Link, vip) && !on(t, second.Link, vip) })
			forget(first)
			forget(second)
			isOn(first, second)
		})
	}
}

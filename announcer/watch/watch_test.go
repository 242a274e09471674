package watch

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/probe"
	"evenkeel.io/evenkeel/announcer/wires"
)

func TestMain(m *testing.M) { nstest.Main(m) }

const segmentName = "seg0"

var (
	vip4, other4 = netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
	vip6         = netip.MustParseAddr("2001:db8::10")
	third        = netip.MustParseAddr("192.0.2.103")
)

// rig is a Watch on a bridge with two other machines, of which the first is the active of some VIPs.
type rig struct {
	*Watch
	bridge        netlink.Link
	active, third *nstest.Pair

	mu     sync.Mutex
	events []liveness.Event
	silent [][]string
}

func start(t *testing.T, config liveness.Config) *rig {
	nstest.Require(t)
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	r := &rig{}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = segmentName
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	check(t, netlink.LinkAdd(bridge))
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	r.active, r.third = nstest.NewPair(t, "port1"), nstest.NewPair(t, "port2")
	for _, port := range []*nstest.Pair{r.active, r.third} {
		check(t, netlink.LinkSetMaster(port.Link, bridge))
	}
	check(t, netlink.LinkSetHardwareAddr(bridge, probe.MAC{2, 0, 0, 0, 0, 1}.HardwareAddr()))
	check(t, netlink.LinkSetUp(bridge))
	var err error
	r.bridge, err = netlink.LinkByName(segmentName)
	check(t, err)
	own := []netip.Prefix{netip.MustParsePrefix("192.0.2.101/24"), netip.MustParsePrefix("2001:db8::101/64")}
	for _, prefix := range own {
		addr, err := netlink.ParseAddr(prefix.String())
		check(t, err)
		if prefix.Addr().Is6() {
			addr.Flags = 2 // IFA_F_NODAD
		}
		check(t, netlink.AddrAdd(r.bridge, addr))
	}
	r.active.AddPeerAddr(t, "192.0.2.102/24")
	r.active.AddPeerAddr(t, "2001:db8::102/64")
	r.third.AddPeerAddr(t, third.String()+"/24")

	limiter, err := announce.NewLimiter(announce.DefaultRate, announce.DefaultBurst, nil)
	check(t, err)
	announcer, err := announce.New(announce.Options{Limiter: limiter})
	check(t, err)
	segments := wires.New(wires.Options{
		Timing: probe.Quick(), Limiter: limiter, Announcer: announcer,
		Heard: func(probe.Heard) {}, Listen: func(name string, h probe.Heard) { r.Heard(name, h) },
	})
	r.Watch = New(Options{
		Config: config, Solicit: segments.Neighbour, Sync: segments.Sync, Clock: clock.RealClock{},
		Events: func(e liveness.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
		SilentNeighbours: func(nodes []string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.silent = append(r.silent, nodes)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- segments.Run(ctx) }()
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	nics := []nic.NIC{{Name: segmentName, Index: r.bridge.Attrs().Index, MAC: r.bridge.Attrs().HardwareAddr, Up: true, Carrier: true, Addresses: own}}
	segments.SetNICs(ctx, nics)
	r.SetNICs(ctx, nics)
	return r
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func macOf(t *testing.T, p *nstest.Pair) probe.MAC {
	t.Helper()
	link, err := p.PeerHandle.LinkByName(p.Peer)
	check(t, err)
	mac, _ := probe.MACFrom(link.Attrs().HardwareAddr)
	return mac
}

// has returns how many events of a kind there were about an address.
func (r *rig) has(kind liveness.EventKind, addr netip.Addr) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.events {
		if e.Kind == kind && e.Addr == addr {
			n++
		}
	}
	return n
}

// guard has the active hold some VIPs and waits until they are guarded.
func (r *rig) guard(t *testing.T, vips ...netip.Addr) []liveness.Target {
	t.Helper()
	var targets []liveness.Target
	for _, vip := range vips {
		r.hold(t, vip)
		targets = append(targets, liveness.Target{Addr: vip, NIC: segmentName, MAC: macOf(t, r.active)})
	}
	// The third machine is guarded too, so that it proves that our port works.
	targets = append(targets, liveness.Target{Addr: third, NIC: segmentName, MAC: macOf(t, r.third)})
	r.SetTargets(targets)
	for _, target := range targets {
		nstest.Eventually(t, target.Addr.String()+" to be heard", func() bool { return r.has(liveness.Heard, target.Addr) > 0 })
	}
	return targets
}

func (r *rig) hold(t *testing.T, vip netip.Addr) {
	t.Helper()
	r.active.AddPeerAddr(t, netip.PrefixFrom(vip, vip.BitLen()).String())
}

func (r *rig) drop(t *testing.T, vip netip.Addr) {
	t.Helper()
	link, err := r.active.PeerHandle.LinkByName(r.active.Peer)
	check(t, err)
	addr, err := netlink.ParseAddr(netip.PrefixFrom(vip, vip.BitLen()).String())
	check(t, err)
	check(t, r.active.PeerHandle.AddrDel(link, addr))
}

func TestAnAddressThatIsLostFallsSilentAloneAndIsChased(t *testing.T) {
	r := start(t, liveness.Balanced())
	targets := r.guard(t, vip4, other4, vip6)
	for _, vip := range []netip.Addr{vip4, vip6} {
		r.drop(t, vip)
		nstest.Eventually(t, vip.String()+" to be silent", func() bool { return r.has(liveness.Silent, vip) > 0 })
	}
	if r.has(liveness.Silent, other4)+r.has(liveness.Silent, third) > 0 {
		t.Errorf("who answers fell silent too: %v", r.events)
	}
	targets[0].Chase = true
	r.SetTargets(targets)
	r.hold(t, vip4)
	nstest.Eventually(t, "the return", func() bool { return r.has(liveness.Returned, vip4) > 0 })
}

func TestAHostThatIsCutOffFallsSilentWithAllItsAddresses(t *testing.T) {
	r := start(t, liveness.Balanced())
	r.guard(t, vip4, other4, vip6)
	check(t, netlink.LinkSetDown(r.active.Link)) // the bridge's port, not our NIC
	for _, vip := range []netip.Addr{vip4, other4, vip6} {
		nstest.Eventually(t, vip.String()+" to be silent", func() bool { return r.has(liveness.Silent, vip) > 0 })
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == liveness.Silent {
			if e.MAC != macOf(t, r.active) || e.NIC != segmentName {
				t.Errorf("silent: %+v", e)
			}
			t.Logf("%s is silent %v after the first unanswered question, %d questions", e.Addr, e.At.Sub(e.Since), e.Probes)
		}
	}
}

func TestAHostThatDropsEchoIsAskedByARP(t *testing.T) {
	r := start(t, liveness.Balanced())
	r.active.InPeer(t, func() {
		// /proc/sys/net is that of the thread's namespace.
		check(t, os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0o600))
	})
	r.guard(t, vip4)
	nstest.Eventually(t, "ARP to be asked instead of echo", func() bool { return r.Stats().Sent[liveness.Solicit] > 10 })
	if r.has(liveness.Silent, vip4) > 0 {
		t.Error("silent though it answers ARP")
	}
}

func TestNeighbours(t *testing.T) {
	r := start(t, liveness.Fast())
	told := func(want ...string) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.silent) > 0 && slices.Equal(r.silent[len(r.silent)-1], want)
	}
	r.SetNeighbours([]Neighbour{
		{Node: "node-2", MAC: macOf(t, r.active), Addr: netip.MustParseAddr("192.0.2.102")},
		{Node: "node-3", MAC: macOf(t, r.third), Addr: third},
		{Node: "node-4", MAC: macOf(t, r.third), Addr: netip.MustParseAddr("203.0.113.4")}, // behind none of our NICs
	})
	nstest.Eventually(t, "both to have been asked twice", func() bool {
		stats := r.Stats()
		return stats.Neighbours == 2 && stats.Sent[liveness.Echo] >= 4
	})
	check(t, netlink.LinkSetDown(r.active.Link))
	nstest.Eventually(t, "the silent neighbour", func() bool { return told("node-2") })
	check(t, netlink.LinkSetUp(r.active.Link))
	nstest.Eventually(t, "its return", func() bool { return told() })
	if n := r.Stats().SilentNeighbours; n != 0 {
		t.Errorf("%d are silent", n)
	}
}

func TestWhatCountsAsASignOfLife(t *testing.T) {
	active, proxy := probe.MAC{2, 0, 0, 0, 0, 2}, probe.MAC{2, 0, 0, 0, 0, 9}
	tests := []struct {
		name  string
		heard probe.Heard
		want  bool
	}{
		{"an answer to us alone", probe.Heard{Addr: vip4, MAC: active, Source: active, Kind: probe.KindAnswer, Direct: true}, true},
		{"a broadcast answer is none", probe.Heard{Addr: vip4, MAC: active, Source: active, Kind: probe.KindAnswer}, false},
		{"an answer that another machine sends is none", probe.Heard{Addr: vip4, MAC: active, Source: proxy, Kind: probe.KindAnswer, Direct: true}, false},
		{"a claim is none", probe.Heard{Addr: vip4, MAC: active, Source: active, Kind: probe.KindClaim}, false},
		{"a question from that address is none", probe.Heard{Addr: vip4, MAC: active, Source: active, Kind: probe.KindUse, Direct: true}, false},
		{"an answer of another MAC is none", probe.Heard{Addr: vip4, MAC: proxy, Source: proxy, Kind: probe.KindAnswer, Direct: true}, false},
		{"an answer for another address is none", probe.Heard{Addr: other4, MAC: active, Source: active, Kind: probe.KindAnswer, Direct: true}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := clock.RealClock{}.Now()
			w := New(Options{Config: liveness.Balanced(), Clock: clock.RealClock{}})
			w.SetTargets([]liveness.Target{{Addr: vip4, NIC: segmentName, MAC: active}})
			tt.heard.At = now
			w.Heard(segmentName, tt.heard)
			_, events := w.core.Tick(now)
			if got := len(events) == 1 && events[0].Kind == liveness.Heard; got != tt.want {
				t.Errorf("heard: %t, want %t (%v)", got, tt.want, events)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	w := New(Options{Config: liveness.Balanced(), Clock: clock.RealClock{}})
	w.SetTargets([]liveness.Target{{Addr: vip4, NIC: segmentName, MAC: probe.MAC{2, 0, 0, 0, 0, 2}}})
	w.core.Tick(clock.RealClock{}.Now())
	registry := prometheus.NewPedanticRegistry()
	Register(registry, w)
	want := `
# HELP evenkeel_announcer_liveness_probes_total Questions to other nodes whether they answer for an address, by kind.
# TYPE evenkeel_announcer_liveness_probes_total counter
evenkeel_announcer_liveness_probes_total{kind="echo"} 1
evenkeel_announcer_liveness_probes_total{kind="solicitation"} 0
# HELP evenkeel_announcer_watched_addresses Addresses of other nodes that are watched on the wire.
# TYPE evenkeel_announcer_watched_addresses gauge
evenkeel_announcer_watched_addresses 1
# HELP evenkeel_announcer_watched_peers Nodes (by interface and purpose) that they are behind.
# TYPE evenkeel_announcer_watched_peers gauge
evenkeel_announcer_watched_peers 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "evenkeel_announcer_liveness_probes_total",
		"evenkeel_announcer_watched_addresses", "evenkeel_announcer_watched_peers"); err != nil {
		t.Error(err)
	}
}

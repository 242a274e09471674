package agent

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/protect"
	"evenkeel.io/evenkeel/announcer/relay"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/announcer/wires"
	"evenkeel.io/evenkeel/api/placeholder"
)

// rig is an agent whose edges write down what they are asked for. Its inbox is emptied by hand, so nothing runs beside the test.
type rig struct {
	*Agent
	t     testing.TB
	ctx   context.Context
	log   []string
	clock *clocktesting.FakeClock

	leftovers      []address.Leftover
	verdicts       map[netip.Addr]func(owner, ignored place.MAC)
	guards         []func()
	reports        map[types.UID]report.Condition
	saved          state.State
	targets        []liveness.Target
	onAsk          func()
	wish           relay.Wish
	slow           bool // the kernel takes its time to hand on
	handoffs       []func()
	titles         map[netip.Addr]place.Title
	deaf           bool
	followedByWire []netip.Addr
	carried        []traffic.VIP // as the traffic was last told
}

func newRig(t testing.TB) *rig {
	r := &rig{
		t: t, ctx: t.Context(), clock: clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		verdicts: map[netip.Addr]func(owner, ignored place.MAC){}, reports: map[types.UID]report.Condition{}, titles: map[netip.Addr]place.Title{},
	}
	r.Agent = New(Options{
		Node: "node-1", Binder: r, Wire: wireFake{r}, Watch: watchFake{r}, Guard: guardFake{r}, Handoff: handoffFake{r}, Traffic: trafficFake{r}, Store: store{r}, Pods: pods{r},
		Metrics: NewMetrics(prometheus.NewRegistry()), Clock: r.clock, Place: place.DefaultConfig(),
		HostServed: func() bool { return false },
	})
	r.NICsChanged(r.ctx, []nic.NIC{{
		Name: "eth0", Index: 7, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Up: true, Carrier: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.101/24")},
	}})
	r.turn()
	return r
}

// turn does what one turn of the loop does.
func (r *rig) turn() {
	for items := r.inbox.take(); len(items) > 0; items = r.inbox.take() {
		for _, item := range items {
			item()
		}
	}
	r.bindReady(r.ctx)
	r.follow()
	r.setTargets()
	r.setTraffic()
	r.setHandoff(r.ctx)
	r.save(r.ctx)
}

func (r *rig) note(what string) { r.log = append(r.log, what) }

func (r *rig) expect(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.log); diff != "" {
		r.t.Errorf("what the edges were asked for (-want +got):\n%s", diff)
	}
	r.log = nil
}

func (r *rig) Bind(_ context.Context, b address.Binding) error {
	r.note("bind " + b.Addr.String())
	return nil
}
func (r *rig) Unbind(_ context.Context, addrs ...netip.Addr) error {
	for _, addr := range addrs {
		r.note("unbind " + addr.String())
	}
	return nil
}
func (r *rig) Leftovers(context.Context) ([]address.Leftover, error) { return r.leftovers, nil }
func (r *rig) RemoveLeftover(_ context.Context, left address.Leftover) error {
	r.note("remove leftover " + left.Addr.String())
	return nil
}

type wireFake struct{ *rig }

func (w wireFake) SetNICs(context.Context, []nic.NIC) {}
func (w wireFake) Probe(_ context.Context, _ string, addr netip.Addr, _ bool, _ map[place.MAC]bool, verdict func(owner, ignored place.MAC), _ func(place.MAC)) {
	w.note("probe " + addr.String())
	w.verdicts[addr] = verdict
}
func (w wireFake) Cancel(netip.Addr) { w.note("cancel probe") }
func (w wireFake) Announce(_ string, a netip.Addr, title place.Title) {
	w.note("announce " + a.String())
	w.titles[a] = title
}
func (w wireFake) Retitle(a netip.Addr, title place.Title) { w.titles[a] = title }
func (w wireFake) Assert(a netip.Addr)                     { w.note("assert " + a.String()) }
func (w wireFake) Deaf(string, time.Duration) bool         { return w.deaf }
func (w wireFake) Follow(addrs []netip.Addr)               { w.followedByWire = addrs }
func (w wireFake) Ask(_ context.Context, _ string, questions []wires.Question, hold bool) {
	what := "remind of "
	if hold {
		what = "ask "
	}
	for _, q := range questions {
		w.note(what + q.Addr.String())
	}
	if w.onAsk != nil {
		w.onAsk()
	}
}
func (w wireFake) Defend(a netip.Addr)  { w.note("defend " + a.String()) }
func (w wireFake) Silence(a netip.Addr) { w.note("silence " + a.String()) }

type watchFake struct{ *rig }

func (w watchFake) SetNICs(context.Context, []nic.NIC)   {}
func (w watchFake) SetTargets(targets []liveness.Target) { w.targets = targets }

type guardFake struct{ *rig }

func (g guardFake) Set(entries []protect.Entry, done func()) { g.guards = append(g.guards, done) }

func (r *rig) guardInForce() {
	for _, done := range r.guards {
		done()
	}
	r.guards = nil
	r.turn()
}

type handoffFake struct{ *rig }

func (h handoffFake) Set(_ context.Context, wish relay.Wish, done func()) {
	h.wish = wish
	if !h.slow {
		done()
		return
	}
	h.handoffs = append(h.handoffs, done)
}

type store struct{ *rig }

func (s store) Save(saved state.State) error {
	s.saved = saved
	saved.Version, saved.BootID = state.Version, "boot"
	content, err := state.Encode(saved)
	if err == nil {
		_, err = state.Decode(content, "boot")
	}
	if err != nil {
		s.t.Errorf("the saved state can't be read again: %v", err)
	}
	return err
}

type pods struct{ *rig }

func (p pods) Observe(*corev1.Pod)                                       {}
func (p pods) Set(uid types.UID, want report.Condition, _ time.Duration) { p.reports[uid] = want }
func (p pods) Forget(uid types.UID)                                      { delete(p.reports, uid) }

func pod(uid, addresses string) *corev1.Pod {
	first, _, _ := cutComma(addresses)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "evenkeel-system", Name: uid, UID: types.UID(uid),
			Labels: map[string]string{placeholder.LabelVIP: placeholder.VIPName(netip.MustParseAddr(first)), placeholder.LabelRole: "active"},
			Annotations: map[string]string{
				placeholder.AnnotationAddresses: addresses, placeholder.AnnotationService: "default/web", placeholder.AnnotationPorts: "tcp/80",
			},
		},
		Spec: corev1.PodSpec{NodeName: "node-1", SchedulerName: placeholder.SchedulerName},
	}
}

func cutComma(s string) (string, string, bool) {
	if i := slices.Index([]byte(s), ','); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

func (r *rig) announced() {
	r.t.Helper()
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.verdicts[v4](place.MAC{}, place.MAC{})
	r.turn()
	r.guardInForce()
	r.log = nil
	if got := r.reports["a"]; !got.Ready || !got.Announced {
		r.t.Fatalf("report = %+v, want ready and announced", got)
	}
}

func TestNothingHappensBeforeTheListIsComplete(t *testing.T) {
	r := newRig(t)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.expect()
	r.Synced(r.ctx)
	r.turn()
	r.expect("probe 192.0.2.10")
}

func TestAnAddressIsBoundOnlyOnceItsProtectionIsInForce(t *testing.T) {
	r := newRig(t)
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.verdicts[v4](place.MAC{}, place.MAC{})
	r.turn()
	r.expect("probe 192.0.2.10")
	r.guardInForce()
	r.expect("bind 192.0.2.10", "announce 192.0.2.10")
	if len(r.saved.VIPs) != 1 || r.saved.VIPs[0].Addresses[0].Addr != v4 {
		t.Errorf("saved state = %+v, want the address in it", r.saved)
	}
}

func TestAConflictIsReportedWithItsMAC(t *testing.T) {
	r := newRig(t)
	r.Synced(r.ctx)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.verdicts[v4](place.MAC{2, 0, 0, 0, 0, 0x99}, place.MAC{})
	r.turn()
	want := report.Condition{Reason: "Conflict", Message: "a machine with MAC address 02:00:00:00:00:99 answers for 192.0.2.10"}
	if diff := cmp.Diff(want, r.reports["a"]); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestAReleasedPlaceholderIsUnboundAtOnce(t *testing.T) {
	r := newRig(t)
	r.announced()
	released := pod("a", "192.0.2.10")
	released.Annotations[placeholder.AnnotationRelease] = "true"
	r.PodChanged(r.ctx, released)
	r.turn()
	r.expect("silence 192.0.2.10", "cancel probe", "unbind 192.0.2.10")
	if len(r.saved.VIPs) != 0 {
		t.Errorf("saved state = %+v, want nothing left in it", r.saved)
	}
}

func TestADeletedPlaceholderIsHeldUntilItsSuccessorClaims(t *testing.T) {
	r := newRig(t)
	r.announced()
	r.PodGone(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.expect("ask 192.0.2.10") // its claim may have been missed
	r.Heard(r.ctx, v4, place.Said{From: mac2, Kind: wire.Claim})
	r.turn()
	r.expect("silence 192.0.2.10", "cancel probe", "unbind 192.0.2.10")
}

func TestANewPlaceholderOfAVIPThatIsHeldTakesItOverWithoutAWord(t *testing.T) {
	r := newRig(t)
	r.announced()
	r.PodChanged(r.ctx, pod("b", "192.0.2.10"))
	r.PodGone(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.expect()
	if got := r.reports["b"]; !got.Ready {
		t.Errorf("report of the new placeholder = %+v, want ready", got)
	}
}

func TestAfterARestartWhatIsHeldStaysAndWhatNobodyWantsGoes(t *testing.T) {
	r := newRig(t)
	left := []address.Leftover{
		{Addr: v4, Interface: 7, Name: "eth0", Marked: true},
		{Addr: netip.MustParseAddr("192.0.2.11"), Interface: 7, Name: "eth0", Marked: true},
		{Addr: netip.MustParseAddr("192.0.2.12"), Interface: 7, Name: "eth0"}, // somebody else's: no marker, not in the file
	}
	saved := state.State{VIPs: []state.VIP{{Name: "192-0-2-10", Pod: state.Pod{Namespace: "evenkeel-system", Name: "a", UID: "a"}, Addresses: []state.Address{{Addr: v4, Interface: "eth0", RequireOwn: true}}}}}
	plan := Plan(left, saved)
	if len(plan) != 2 {
		t.Fatalf("plan = %+v, want the two marked addresses", plan)
	}
	r.Adopt(r.ctx, plan, saved)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.turn()
	r.expect("ask 192.0.2.10", "ask 192.0.2.11") // the API's list isn't complete, so no more than that
	r.Synced(r.ctx)
	r.turn()
	r.expect("ask 192.0.2.11")
	r.clock.Step(place.DefaultConfig().Linger)
	for _, addr := range r.dueAt(r.clock.Now()) {
		r.carryOut(r.ctx, addr, r.places[addr].Tick(r.clock.Now()))
	}
	r.expect("silence 192.0.2.11", "cancel probe", "unbind 192.0.2.11")
	if !r.reports["a"].Ready {
		t.Errorf("report = %+v, want ready", r.reports["a"])
	}
}

func TestAPlaceholderThatCantBeReadSaysSo(t *testing.T) {
	r := newRig(t)
	r.Synced(r.ctx)
	bad := pod("a", "192.0.2.10")
	bad.Annotations[placeholder.AnnotationAddresses] = "192.0.2.300"
	r.PodChanged(r.ctx, bad)
	r.turn()
	r.expect()
	if got := r.reports["a"]; got.Reason != placeholder.ReasonInvalid || got.Ready {
		t.Errorf("report = %+v, want reason Invalid", got)
	}
}

func TestRunTurnsAndEnds(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(r.ctx)
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	turned := make(chan struct{})
	r.inbox.send(func() { close(turned) })
	<-turned
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

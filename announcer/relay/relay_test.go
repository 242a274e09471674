package relay

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/handoff"
)

var (
	vip = netip.MustParseAddr("192.0.2.10")
	own = netip.MustParseAddr("192.0.2.101")
)

// table is a kernel that writes down what it is asked to hold.
type table struct {
	set     chan handoff.State
	answer  error
	uses    map[netip.Addr]handoff.Use
	renewed int
}

func (t *table) Set(_ context.Context, s handoff.State) error {
	t.set <- s
	return t.answer
}
func (t *table) Renew(context.Context) error { t.renewed++; return nil }
func (t *table) Stats(context.Context) (map[netip.Addr]handoff.Use, error) {
	return t.uses, nil
}

type rig struct {
	*Relay
	table       *table
	unreachable bool
	told        error
}

// start runs a relay on a kernel that holds left; it must be called in a bubble.
func start(t *testing.T, left handoff.State) *rig {
	core, err := handoff.NewCore("self", handoff.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{table: &table{set: make(chan handoff.State, 10)}}
	r.Relay = New(Options{
		Table: r.table, Core: core, RenewEvery: time.Minute, Clock: clock.RealClock{},
		Unreachable: func(netip.Addr, int) bool { return r.unreachable },
		Notify:      func(err error) { r.told = err },
	}, left)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// wish is the VIP held after node "a", or by nobody before.
func wish(earlier bool) Wish {
	v := handoff.VIP{Addr: vip, Interface: 2, Subnets: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Held: true}
	if earlier {
		v.Earlier = []handoff.Owner{{Node: "a", MACs: []handoff.MAC{{2, 0, 0, 0, 0, 1}}, Addrs: []netip.Addr{own}}}
	}
	return Wish{VIPs: []handoff.VIP{v}, Peers: []handoff.MAC{{2, 0, 0, 0, 0, 1}}}
}

// asked is whether Set's caller may go on, once everything has come to rest.
func (r *rig) asked(t *testing.T, w Wish) bool {
	called := false
	r.Set(t.Context(), w, func() { called = true })
	return called
}

func (r *rig) entries(t *testing.T) int {
	t.Helper()
	synctest.Wait()
	n := -1
	for {
		select {
		case s := <-r.table.set:
			n = len(s.Entries)
		default:
			return n
		}
	}
}

func TestOnlyWhoHasEarlierOwnersWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, handoff.State{})
		if !r.asked(t, wish(false)) {
			t.Error("a VIP without earlier owners waits")
		}
		if n := r.entries(t); n != 0 {
			t.Errorf("%d entries in the kernel, want a guard only", n)
		}
		called := make(chan struct{})
		r.Set(t.Context(), wish(true), func() { close(called) })
		select {
		case <-called:
			t.Error("the VIP may be announced before the kernel hands on")
		default:
		}
		if n := r.entries(t); n != 1 {
			t.Errorf("%d entries in the kernel, want 1", n)
		}
		<-called
		if !r.asked(t, wish(true)) {
			t.Error("what is in force is waited for")
		}
	})
}

func TestAKernelThatRefusesHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, handoff.State{})
		r.table.answer = errors.New("no buffer space")
		called := make(chan struct{})
		r.Set(t.Context(), wish(true), func() { close(called) })
		<-called
		if !errors.Is(r.told, r.table.answer) {
			t.Errorf("told %v, want %v", r.told, r.table.answer)
		}
	})
}

func TestWhatAnEarlierProcessLeftStaysUntilTheAgentHasSpoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := handoff.State{
			Guards: []handoff.Guard{{VIP: vip, Interface: 2, Held: true}}, Peers: []handoff.MAC{{2, 0, 0, 0, 0, 1}},
			Entries: []handoff.Entry{{VIP: vip, Interface: 2, To: own, Node: "a", Started: time.Now()}},
		}
		r := start(t, left)
		r.TurnOff(t.Context(), "")
		time.Sleep(30 * time.Second)
		if n := r.entries(t); n != -1 {
			t.Errorf("%d entries were set before the agent had spoken", n)
		}
		r.Set(t.Context(), wish(true), func() {})
		if n := r.entries(t); n != 1 {
			t.Errorf("%d entries afterwards, want the one of before", n)
		}
	})
}

func TestADeadOwnerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, handoff.State{})
		r.Set(t.Context(), wish(true), func() {})
		r.table.uses = map[netip.Addr]handoff.Use{vip: {Packets: 5, Last: time.Now(), Flows: 3}}
		time.Sleep(lookEvery + time.Second)
		if n := r.entries(t); n != 1 {
			t.Fatalf("%d entries, want 1", n)
		}
		r.unreachable = true
		time.Sleep(missedAfter * lookEvery)
		if n := r.entries(t); n != 0 {
			t.Errorf("%d entries for a node that is off the segment, want none", n)
		}
		if s := r.Stats(); s.Ended[handoff.Gone] != 1 || s.Cut[handoff.Gone] != 3 || s.Packets != 5 || s.Flows != 3 {
			t.Errorf("stats = %+v", s)
		}
	})
}

func TestTurnedOffNothingIsHandedOnButCopiesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, handoff.State{})
		r.TurnOff(t.Context(), "no kube-proxy")
		if !r.asked(t, wish(true)) {
			t.Error("the VIP waits for what is turned off")
		}
		synctest.Wait()
		if s := <-r.table.set; len(s.Entries) != 0 || len(s.Guards) != 1 {
			t.Errorf("the kernel holds %+v, want a guard only", s)
		}
		time.Sleep(time.Hour)
		if r.table.renewed < 59 {
			t.Errorf("renewed %d times in an hour, want once a minute", r.table.renewed)
		}
	})
}

func TestWithoutARelayNobodyWaits(t *testing.T) {
	var none *Relay
	called := false
	none.Set(t.Context(), wish(true), func() { called = true })
	if !called {
		t.Error("not called")
	}
}

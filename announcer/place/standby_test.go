package place

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var active = MAC{2, 0, 0, 0, 0, 0x01}

func standingBy(term int64) *Wish {
	return &Wish{Pod: "s", Term: term, Standby: true, Active: active, Peers: map[MAC]bool{active: true, peer: true}, Successors: map[MAC]bool{peer: true}}
}

func acting(term int64) *Wish {
	return &Wish{Pod: "s", Term: term, Peers: map[MAC]bool{active: true, peer: true}, Successors: map[MAC]bool{active: true, peer: true}}
}

func guarding(*testing.T) *Machine {
	m := New(vip, DefaultConfig(), chooseEth0)
	m.SetWish(standingBy(1), at(0))
	m.Answered(active)
	return m
}

func tookOver(t *testing.T) *Machine {
	m := guarding(t)
	m.Silent(active)
	m.BindDone(nil, at(time.Second))
	if m.State() != Held {
		t.Fatalf("state = %v, want Held", m.State())
	}
	return m
}

func promoted(t *testing.T) *Machine {
	m := tookOver(t)
	m.SetWish(acting(2), at(2*time.Second))
	return m
}

func TestStandby(t *testing.T) {
	fresh := func(*testing.T) *Machine { return New(vip, DefaultConfig(), chooseEth0) }
	noCarrier := func(string) bool { return false }
	letGo := []Action{Silence, CancelProbe, Unbind}
	tests := []struct {
		name   string
		given  func(*testing.T) *Machine
		when   func(*Machine) []Effect
		want   []Action
		state  State
		reason Reason
		watch  Watched
	}{
		{"a standby binds nothing and watches the active", fresh,
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(0)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"one that knows no active has nothing to guard", fresh,
			func(m *Machine) []Effect { w := standingBy(1); w.Active = MAC{}; return m.SetWish(w, at(0)) }, nil, Guarding, ReasonNothingToGuard, Watched{}},
		{"once the active has answered it guards", fresh,
			func(m *Machine) []Effect { m.SetWish(standingBy(1), at(0)); m.Answered(active); return nil }, nil, Guarding, ReasonGuarding, Watched{MAC: active}},
		{"another active must be heard anew", guarding,
			func(m *Machine) []Effect { w := standingBy(1); w.Active = peer; return m.SetWish(w, at(0)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"news that leave the active as it is don't", guarding,
			func(m *Machine) []Effect { return m.SetWish(standingBy(2), at(0)) }, nil, Guarding, ReasonGuarding, Watched{MAC: active}},
		{"silence is taken over without a probe", guarding,
			func(m *Machine) []Effect { return m.Silent(active) }, []Action{Bind}, Binding, ReasonProbing, Watched{}},
		{"silence of somebody else is not", guarding,
			func(m *Machine) []Effect { return m.Silent(peer) }, nil, Guarding, ReasonGuarding, Watched{MAC: active}},
		{"what was taken over is announced, and the silent node chased", func(t *testing.T) *Machine { m := guarding(t); m.Silent(active); return m },
			func(m *Machine) []Effect { return m.BindDone(nil, at(0)) }, []Action{Announce}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"a takeover that the kernel refuses is guarded again after a while", func(t *testing.T) *Machine {
			m := guarding(t)
			m.Silent(active)
			m.BindDone(errors.New("no"), at(0))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(time.Second)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"a takeover stands until the API knows of it", tookOver,
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(2*time.Second)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"the promotion after a takeover changes nothing on the wire", tookOver,
			func(m *Machine) []Effect { return m.SetWish(acting(2), at(2*time.Second)) }, nil, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"who was promoted doesn't chase a node that the API has forgotten", tookOver,
			func(m *Machine) []Effect { return m.SetWish(wanted(), at(2*time.Second)) }, nil, Held, ReasonAnnouncing, Watched{}},
		{"the node that fell silent is told of the takeover when it is back", promoted,
			func(m *Machine) []Effect { return m.Returned(active) }, []Action{Defend}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"a taker isn't impressed by the active's own claim", tookOver,
			func(m *Machine) []Effect { return m.Heard(active, at(3*time.Second)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"and answers it", func(t *testing.T) *Machine { m := tookOver(t); m.Heard(active, at(3*time.Second)); return m },
			func(m *Machine) []Effect { return m.Tick(at(4 * time.Second)) }, []Action{Defend}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"a taker gives way to one further down the succession", tookOver,
			func(m *Machine) []Effect { return m.Heard(peer, at(3*time.Second)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"an active gives way to its standby", promoted,
			func(m *Machine) []Effect { return m.Heard(peer, at(3*time.Second)) }, letGo, Waiting, ReasonSuperseded, Watched{}},
		{"and asks again later, when the standby's answer counts", func(t *testing.T) *Machine { m := promoted(t); m.Heard(peer, at(3*time.Second)); return m },
			func(m *Machine) []Effect { return m.Tick(at(5 * time.Second)) }, []Action{Probe}, Probing, ReasonLost, Watched{}},
		{"a claim right after binding is a straggler of the move", tookOver,
			func(m *Machine) []Effect { return m.Heard(peer, at(1100*time.Millisecond)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"a promoted standby probes like a new active, its peers apart", guarding,
			func(m *Machine) []Effect { return m.SetWish(acting(2), at(0)) }, []Action{Probe}, Probing, ReasonProbing, Watched{}},
		{"an active that is demoted lets go and guards", promoted, func(m *Machine) []Effect {
			w := standingBy(3)
			w.Active = peer
			return m.SetWish(w, at(3*time.Second))
		}, letGo, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"a standby that ends is forgotten", guarding,
			func(m *Machine) []Effect { return m.SetWish(nil, at(0)) }, nil, Idle, "", Watched{}},
		{"a taker whose placeholder ends holds on for a successor", tookOver,
			func(m *Machine) []Effect { return m.SetWish(&Wish{Standby: true, Ending: true}, at(2*time.Second)) }, nil, Lingering, ReasonAnnouncing, Watched{}},
		{"a new standby on the node that still holds for the successor waits for that", func(t *testing.T) *Machine { m := promoted(t); m.SetWish(nil, at(3*time.Second)); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(3), at(3*time.Second)) }, nil, Lingering, ReasonTookOver, Watched{}},
		{"and guards when the successor has claimed", func(t *testing.T) *Machine {
			m := promoted(t)
			m.SetWish(nil, at(3*time.Second))
			m.SetWish(standingBy(3), at(3*time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Heard(active, at(4*time.Second)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"without carrier a standby guards nothing", guarding,
			func(m *Machine) []Effect { return m.NICsChanged(noCarrier, at(0)) }, nil, Waiting, ReasonNoInterface, Watched{}},
		{"a taker without carrier lets go", tookOver,
			func(m *Machine) []Effect { return m.NICsChanged(noCarrier, at(2*time.Second)) }, letGo, Waiting, ReasonNoInterface, Watched{}},
		{"a taker that lost its lease guards what others may have by now", tookOver,
			func(m *Machine) []Effect { return m.Lost(at(2 * time.Second)) }, []Action{Silence, CancelProbe}, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"after a restart a taker in the same term stays", func(*testing.T) *Machine { m := fresh(nil); m.Adopt(eth0, 1); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(0)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"after a restart a standby of a later term lets go", func(*testing.T) *Machine { m := fresh(nil); m.Adopt(eth0, 1); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(2), at(0)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: active}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.given(t)
			if diff := cmp.Diff(tt.want, actions(tt.when(m))); diff != "" {
				t.Errorf("effects (-want +got):\n%s", diff)
			}
			if m.State() != tt.state {
				t.Errorf("state = %v, want %v", m.State(), tt.state)
			}
			if got := m.Report().Reason; tt.reason != "" && got != tt.reason {
				t.Errorf("reason = %q, want %q", got, tt.reason)
			}
			if got, _ := m.Watching(); got != tt.watch {
				t.Errorf("watching %v, want %v", got, tt.watch)
			}
		})
	}
}

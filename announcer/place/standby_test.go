package place

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

var active = MAC{2, 0, 0, 0, 0, 0x01}

func standingBy(term int64) *Wish {
	return &Wish{Pod: "s", Term: term, Place: 2, Standby: true, Active: active, Peers: map[MAC]uint8{active: 1, peer: 3}}
}

func acting(term int64) *Wish {
	return &Wish{Pod: "s", Term: term, Place: 1, Peers: map[MAC]uint8{active: 0, peer: 2}}
}

func guarding(*testing.T) *Machine {
	m := New(vip, DefaultConfig(), chooseEth0)
	m.SetWish(standingBy(1), at(0))
	m.Answered(active)
	return m
}

func tookOver(t *testing.T) *Machine {
	m := guarding(t)
	m.Silent(active, false, at(0))
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
			func(m *Machine) []Effect {
				return m.SetWish(&Wish{Pod: "s", Term: 2, Place: 2, Standby: true, Active: peer, Peers: map[MAC]uint8{peer: 1, active: 0}}, at(0))
			}, nil, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"news that leave the active as it is don't", guarding,
			func(m *Machine) []Effect { return m.SetWish(standingBy(2), at(0)) }, nil, Guarding, ReasonGuarding, Watched{MAC: active}},
		{"silence is taken over without a probe", guarding,
			func(m *Machine) []Effect { return m.Silent(active, false, at(0)) }, []Action{Bind}, Binding, ReasonProbing, Watched{}},
		{"silence of somebody else is not", guarding,
			func(m *Machine) []Effect { return m.Silent(peer, false, at(0)) }, nil, Guarding, ReasonGuarding, Watched{MAC: active}},
		{"what was taken over is announced, and the silent node chased", func(t *testing.T) *Machine { m := guarding(t); m.Silent(active, false, at(0)); return m },
			func(m *Machine) []Effect { return m.BindDone(nil, at(0)) }, []Action{Announce}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"a takeover that the kernel refuses is tried again, once the wire was asked who has it by then", func(t *testing.T) *Machine {
			m := guarding(t)
			m.Silent(active, false, at(0))
			m.BindDone(errors.New("no"), at(0))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(time.Second)) }, []Action{Probe}, Probing, ReasonLost, Watched{}},
		{"a takeover stands until the API knows of it", tookOver,
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(2*time.Second)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"the promotion after a takeover changes nothing on the wire", tookOver,
			func(m *Machine) []Effect { return m.SetWish(acting(2), at(2*time.Second)) }, nil, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"who was promoted doesn't chase a node that the API has forgotten", tookOver,
			func(m *Machine) []Effect {
				return m.SetWish(&Wish{Pod: "s", Term: 2, Place: 1, Peers: map[MAC]uint8{peer: 2}}, at(2*time.Second))
			}, nil, Held, ReasonAnnouncing, Watched{}},
		{"the node that fell silent is told of the takeover when it is back", promoted,
			func(m *Machine) []Effect { return m.Returned(active, at(3*time.Second)) }, []Action{Assert}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"a taker tells an active that claims what is no longer its own", tookOver,
			func(m *Machine) []Effect { return m.Heard(titled(active, 1, 1), at(3*time.Second)) }, []Action{Assert}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"and one that only answers for it", tookOver,
			func(m *Machine) []Effect { return m.Heard(Said{From: active, Kind: wire.Use}, at(3*time.Second)) }, []Action{Assert}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"and one that asks whether anybody has it", tookOver,
			func(m *Machine) []Effect { return m.Heard(Said{From: active, Kind: wire.Probe}, at(3*time.Second)) }, []Action{Assert}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"a stranger that asks is answered by the kernel alone", tookOver,
			func(m *Machine) []Effect { return m.Heard(Said{From: stranger, Kind: wire.Probe}, at(3*time.Second)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},

		{"a taker gives way to one further down the succession, and guards it", tookOver,
			func(m *Machine) []Effect { return m.Heard(titled(peer, 1, 3), at(1001*time.Millisecond)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"an active that was cut off gives way to a node that it has never heard of", held,
			func(m *Machine) []Effect { return m.Heard(titled(stranger, 7, 1), at(30*time.Second)) }, letGo, Guarding, ReasonSuperseded, Watched{MAC: stranger}},
		{"of two peers with the same title the higher MAC address keeps it", func(t *testing.T) *Machine { m := tookOver(t); m.SetMAC(MAC{1}); return m },
			func(m *Machine) []Effect { return m.Heard(titled(peer, 1, 2), at(3*time.Second)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"and the lower is told so", func(t *testing.T) *Machine { m := tookOver(t); m.SetMAC(MAC{4}); return m },
			func(m *Machine) []Effect { return m.Heard(titled(peer, 1, 2), at(3*time.Second)) }, []Action{Assert}, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"an active gives way to its standby, and guards it", promoted,
			func(m *Machine) []Effect { return m.Heard(titled(peer, 2, 2), at(3*time.Second)) }, letGo, Guarding, ReasonSuperseded, Watched{MAC: peer}},
		{"an active shows its title to a standby that answers, as the kernel's answer has none", promoted,
			func(m *Machine) []Effect { return m.Heard(Said{From: peer, Kind: wire.Answer}, at(3*time.Second)) }, []Action{Assert}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"and goes on to, as kernels know nothing of titles", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(Said{From: peer, Kind: wire.Answer}, at(3*time.Second))
			return m
		},
			func(m *Machine) []Effect { return m.Heard(Said{From: peer, Kind: wire.Answer}, at(4*time.Second)) }, []Action{Assert}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"and to a standby that announces without a title", promoted,
			func(m *Machine) []Effect { return m.Heard(claim(peer), at(3*time.Second)) }, []Action{Assert}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"but gives way when that one goes on", func(t *testing.T) *Machine { m := promoted(t); m.Heard(claim(peer), at(3*time.Second)); return m },
			func(m *Machine) []Effect { return m.Heard(claim(peer), at(4*time.Second)) }, letGo, Guarding, ReasonSuperseded, Watched{MAC: peer}},
		{"though not when it has shown a lower title", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(claim(peer), at(3*time.Second))
			m.Heard(titled(peer, 1, 3), at(3100*time.Millisecond))
			return m
		}, func(m *Machine) []Effect { return m.Heard(claim(peer), at(4*time.Second)) }, []Action{Assert}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"it isn't promoted by the same news again", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(titled(peer, 2, 2), at(3*time.Second))
			return m
		},
			func(m *Machine) []Effect { m.Answered(peer); return m.SetWish(acting(2), at(4*time.Second)) }, nil, Guarding, ReasonSuperseded, Watched{MAC: peer}},
		{"but by later ones", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(titled(peer, 2, 2), at(3*time.Second))
			return m
		},
			func(m *Machine) []Effect { m.Answered(peer); return m.SetWish(acting(3), at(4*time.Second)) }, []Action{Bind}, Binding, ReasonProbing, Watched{}},
		{"and it takes over from who took over, should that one fall silent", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(titled(peer, 2, 2), at(3*time.Second))
			return m
		},
			func(m *Machine) []Effect {
				m.Answered(peer)
				return append(m.Silent(peer, false, at(9*time.Second)), m.BindDone(nil, at(9*time.Second))...)
			}, []Action{Bind, Announce}, Held, ReasonAnnouncing, Watched{MAC: peer, Chase: true}},
		{"a successor that can't be heard at all is asked for on the wire, when its answer counts", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(titled(peer, 2, 2), at(3*time.Second))
			return m
		},
			func(m *Machine) []Effect { return m.Tick(at(5 * time.Second)) }, []Action{Probe}, Probing, ReasonSuperseded, Watched{}},
		{"one that then answers is guarded on", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(titled(peer, 2, 2), at(3*time.Second))
			m.Tick(at(5 * time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Verdict(m.probe, peer, MAC{}, at(5*time.Second)) }, []Action{CancelProbe}, Guarding, ReasonSuperseded, Watched{MAC: peer}},
		{"what nobody has then is taken over", func(t *testing.T) *Machine {
			m := promoted(t)
			m.Heard(titled(peer, 2, 2), at(3*time.Second))
			m.Tick(at(5 * time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Verdict(m.probe, MAC{}, MAC{}, at(5*time.Second)) }, []Action{Bind}, Binding, ReasonProbing, Watched{}},
		{"a node that lives and no longer answers for it may have withdrawn it: the wire is asked first", guarding,
			func(m *Machine) []Effect { return m.Silent(active, true, at(0)) }, []Action{Probe}, Probing, ReasonGuarding, Watched{}},
		{"a foreign machine that has it then is a conflict", func(t *testing.T) *Machine { m := guarding(t); m.Silent(active, true, at(0)); return m },
			func(m *Machine) []Effect { return m.Verdict(m.probe, stranger, MAC{}, at(0)) }, []Action{CancelProbe}, Waiting, ReasonConflict, Watched{}},
		{"one that answers late makes it let go", func(t *testing.T) *Machine {
			m := guarding(t)
			m.Silent(active, true, at(0))
			m.Verdict(m.probe, MAC{}, MAC{}, at(0))
			m.BindDone(nil, at(0))
			return m
		}, func(m *Machine) []Effect { return m.LateAnswer(stranger, at(300*time.Millisecond)) }, letGo, Waiting, ReasonConflict, Watched{}},
		{"a frame without title right after binding is a straggler of the move", tookOver,
			func(m *Machine) []Effect { return m.Heard(claim(peer), at(100*time.Millisecond)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"a promoted standby binds at once: it has just heard that the address is the cluster's", guarding,
			func(m *Machine) []Effect { return m.SetWish(acting(2), at(0)) }, []Action{Bind}, Binding, ReasonProbing, Watched{}},
		{"and chases the node that it has it from", func(t *testing.T) *Machine { m := guarding(t); m.SetWish(acting(2), at(0)); return m },
			func(m *Machine) []Effect { return m.BindDone(nil, at(0)) }, []Action{Announce}, Held, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"for a few seconds", func(t *testing.T) *Machine {
			m := guarding(t)
			m.SetWish(acting(2), at(0))
			m.BindDone(nil, at(0))
			return m
		},
			func(m *Machine) []Effect { return m.Tick(at(10 * time.Second)) }, nil, Held, ReasonAnnouncing, Watched{}},
		{"a promoted standby that never heard the active probes, its peers apart", fresh,
			func(m *Machine) []Effect { m.SetWish(standingBy(1), at(0)); return m.SetWish(acting(2), at(0)) }, []Action{Probe}, Probing, ReasonProbing, Watched{}},
		{"a standby follows a claim of another standby", guarding,
			func(m *Machine) []Effect { return m.Heard(titled(peer, 1, 3), at(0)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"and of a node that it has never heard of", guarding,
			func(m *Machine) []Effect { return m.Heard(titled(stranger, 2, 1), at(0)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: stranger}},
		{"a standby isn't led astray by old claims", func(t *testing.T) *Machine { m := guarding(t); m.Heard(titled(peer, 1, 3), at(0)); return m },
			func(m *Machine) []Effect { return m.Heard(titled(active, 1, 1), at(0)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"nor by old news", func(t *testing.T) *Machine { m := guarding(t); m.Heard(titled(peer, 1, 3), at(0)); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(0)) }, nil, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"nor by strangers", guarding,
			func(m *Machine) []Effect { return m.Heard(claim(stranger), at(0)) }, nil, Guarding, ReasonGuarding, Watched{MAC: active}},
		{"news that come while it takes over don't stop it", func(t *testing.T) *Machine { m := guarding(t); m.Silent(active, false, at(0)); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(0)) }, nil, Binding, ReasonProbing, Watched{}},
		{"a claim by a higher title that comes while it takes over does", func(t *testing.T) *Machine { m := guarding(t); m.Silent(active, false, at(0)); return m },
			func(m *Machine) []Effect { return m.Heard(titled(peer, 1, 3), at(0)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"an active that is demoted lets go and guards", promoted, func(m *Machine) []Effect {
			w := standingBy(3)
			w.Active = peer
			return m.SetWish(w, at(3*time.Second))
		}, letGo, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"a standby that ends is forgotten", guarding,
			func(m *Machine) []Effect { return m.SetWish(nil, at(0)) }, nil, Idle, "", Watched{}},
		{"a taker whose placeholder ends holds on for a successor, and asks for it", tookOver,
			func(m *Machine) []Effect { return m.SetWish(&Wish{Standby: true, Ending: true}, at(2*time.Second)) }, []Action{Ask}, Lingering, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"it doesn't give way to a lower title meanwhile", func(t *testing.T) *Machine { m := tookOver(t); m.SetWish(nil, at(2*time.Second)); return m },
			func(m *Machine) []Effect { return m.Heard(titled(active, 1, 1), at(3*time.Second)) }, nil, Lingering, ReasonAnnouncing, Watched{MAC: active, Chase: true}},
		{"a new standby of a later term on the node that still holds for the successor lets go, as the claim may never get here", func(t *testing.T) *Machine { m := promoted(t); m.SetWish(nil, at(3*time.Second)); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(3), at(3*time.Second)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"one of the same term waits for the successor's claim", func(t *testing.T) *Machine { m := promoted(t); m.SetWish(nil, at(3*time.Second)); return m },
			func(m *Machine) []Effect { return m.SetWish(standingBy(2), at(3*time.Second)) }, nil, Lingering, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"and guards when the successor has claimed", func(t *testing.T) *Machine {
			m := promoted(t)
			m.SetWish(nil, at(3*time.Second))
			m.SetWish(standingBy(2), at(3*time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Heard(titled(active, 3, 1), at(4*time.Second)) }, letGo, Guarding, ReasonNotHeard, Watched{MAC: active}},
		{"without carrier a standby guards nothing", guarding,
			func(m *Machine) []Effect { return m.NICsChanged(noCarrier, at(0)) }, nil, Waiting, ReasonNoInterface, Watched{}},
		{"a taker without carrier lets go", tookOver,
			func(m *Machine) []Effect { return m.NICsChanged(noCarrier, at(2*time.Second)) }, letGo, Waiting, ReasonNoInterface, Watched{}},
		{"a taker that lost its lease asks who has it by now", tookOver,
			func(m *Machine) []Effect { return m.Lost(at(2 * time.Second)) }, []Action{Silence, CancelProbe, Probe}, Probing, ReasonLost, Watched{}},
		{"and guards who answers", func(t *testing.T) *Machine { m := tookOver(t); m.Lost(at(2 * time.Second)); return m },
			func(m *Machine) []Effect { return m.Verdict(m.probe, peer, MAC{}, at(2*time.Second)) }, []Action{CancelProbe}, Guarding, ReasonNotHeard, Watched{MAC: peer}},
		{"and takes it again if nobody does", func(t *testing.T) *Machine { m := tookOver(t); m.Lost(at(2 * time.Second)); return m },
			func(m *Machine) []Effect {
				return append(m.Verdict(m.probe, MAC{}, MAC{}, at(2*time.Second)), m.BindDone(nil, at(2*time.Second))...)
			}, []Action{Bind, Announce}, Held, ReasonTookOver, Watched{}},
		{"after a restart a taker in the same term stays", func(*testing.T) *Machine {
			m := fresh(nil)
			m.Adopt(eth0, Memory{Title: Title{Term: 1, Place: 2}, Peer: active}, at(0))
			return m
		},
			func(m *Machine) []Effect { return m.SetWish(standingBy(1), at(0)) }, nil, Held, ReasonTookOver, Watched{MAC: active, Chase: true}},
		{"after a restart a standby of a later term lets go", func(*testing.T) *Machine {
			m := fresh(nil)
			m.Adopt(eth0, Memory{Title: Title{Term: 1, Place: 2}, Peer: active}, at(0))
			return m
		},
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

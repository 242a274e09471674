package place

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

var (
	vip      = netip.MustParseAddr("192.0.2.10")
	eth0     = NIC{Name: "eth0", RequireOwn: true}
	stranger = MAC{2, 0, 0, 0, 0, 0x99}
	peer     = MAC{2, 0, 0, 0, 0, 0x02}
	epoch    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func at(d time.Duration) time.Time { return epoch.Add(d) }

func chooseEth0(netip.Addr, []string) (NIC, error) { return eth0, nil }

func wanted() *Wish { return &Wish{Pod: "a", Term: 1, Place: 1, Peers: map[MAC]uint8{peer: 0}} }

// claim is an announcement by a machine that has no title.
func claim(from MAC) Said { return Said{From: from, Kind: wire.Claim} }

func titled(from MAC, term int64, place uint8) Said {
	return Said{From: from, Kind: wire.Claim, Title: Title{Term: term, Place: place}, Titled: true}
}

func actions(effects []Effect) []Action {
	var out []Action
	for _, e := range effects {
		out = append(out, e.Do)
	}
	return out
}

func held(t *testing.T) *Machine {
	t.Helper()
	m := New(vip, DefaultConfig(), chooseEth0)
	m.SetWish(wanted(), at(0))
	m.Verdict(1, MAC{}, MAC{}, at(20*time.Millisecond))
	m.BindDone(nil, at(21*time.Millisecond))
	if m.State() != Held {
		t.Fatalf("state = %v, want Held", m.State())
	}
	return m
}

func TestStories(t *testing.T) {
	ok := func(string) bool { return true }
	noCarrier := func(string) bool { return false }
	tests := []struct {
		name  string
		given func(*testing.T) *Machine
		when  func(*Machine) []Effect
		want  []Action
		state State
	}{
		{"a wish is probed first", func(*testing.T) *Machine { return New(vip, DefaultConfig(), chooseEth0) },
			func(m *Machine) []Effect { return m.SetWish(wanted(), at(0)) }, []Action{Probe}, Probing},
		{"without probing a wish is bound at once", func(*testing.T) *Machine {
			config := DefaultConfig()
			config.Probe = false
			return New(vip, config, chooseEth0)
		}, func(m *Machine) []Effect { return m.SetWish(wanted(), at(0)) }, []Action{Bind}, Binding},
		{"a free address is bound and announced", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.SetWish(wanted(), at(0))
			return m
		}, func(m *Machine) []Effect {
			return append(m.Verdict(1, MAC{}, MAC{}, at(1)), m.BindDone(nil, at(1))...)
		}, []Action{Bind, Announce}, Held},
		{"a verdict of an older probe is ignored", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.SetWish(wanted(), at(0))
			return m
		}, func(m *Machine) []Effect { return m.Verdict(0, MAC{}, MAC{}, at(1)) }, nil, Probing},
		{"an address with another owner is not bound", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.SetWish(wanted(), at(0))
			return m
		}, func(m *Machine) []Effect { return m.Verdict(1, stranger, MAC{}, at(1)) }, []Action{CancelProbe}, Waiting},
		{"a conflict is probed again after the back-off", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.SetWish(wanted(), at(0))
			m.Verdict(1, stranger, MAC{}, at(0))
			return m
		}, func(m *Machine) []Effect { return m.Tick(m.Deadline()) }, []Action{Probe}, Probing},
		{"an address the kernel refuses is tried again", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.SetWish(wanted(), at(0))
			m.Verdict(1, MAC{}, MAC{}, at(0))
			m.BindDone(errors.New("no buffer space"), at(0))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(time.Second)) }, []Action{Probe}, Probing},
		{"release unbinds at once and silences first", held,
			func(m *Machine) []Effect { return m.SetWish(&Wish{Release: true}, at(time.Second)) }, []Action{Silence, CancelProbe, Unbind}, Idle},
		{"a deleted placeholder is held for its successor", held,
			func(m *Machine) []Effect { return m.SetWish(nil, at(time.Second)) }, []Action{Ask}, Lingering},
		{"an ending placeholder is held for its successor", held,
			func(m *Machine) []Effect { return m.SetWish(&Wish{Pod: "a", Ending: true}, at(time.Second)) }, []Action{Ask}, Lingering},
		{"the successor's claim ends lingering", func(t *testing.T) *Machine {
			m := held(t)
			m.SetWish(nil, at(time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Heard(titled(peer, 2, 1), at(2*time.Second)) }, []Action{Silence, CancelProbe, Unbind}, Idle},
		{"lingering ends by itself", func(t *testing.T) *Machine {
			m := held(t)
			m.SetWish(nil, at(time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(11 * time.Second)) }, []Action{Silence, CancelProbe, Unbind}, Idle},
		{"lingering does not end early", func(t *testing.T) *Machine {
			m := held(t)
			m.SetWish(nil, at(time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(10999 * time.Millisecond)) }, nil, Lingering},
		{"a VIP that returns while it lingers is only announced again", func(t *testing.T) *Machine {
			m := held(t)
			m.SetWish(nil, at(time.Second))
			return m
		}, func(m *Machine) []Effect { return m.SetWish(&Wish{Pod: "b"}, at(2*time.Second)) }, []Action{Announce}, Held},
		{"a late answer withdraws", held,
			func(m *Machine) []Effect { return m.LateAnswer(stranger, at(4*time.Second)) }, []Action{Silence, CancelProbe, Unbind}, Waiting},
		{"an answer after the late window doesn't withdraw", held,
			func(m *Machine) []Effect { return m.LateAnswer(stranger, at(6*time.Second)) }, nil, Held},
		{"a foreign claim in the late window is left to the watch for late answers", held,
			func(m *Machine) []Effect {
				return append(m.Heard(claim(stranger), at(time.Second)), m.Tick(at(4*time.Second))...)
			}, nil, Held},
		{"a foreign claim is answered only after a delay", held,
			func(m *Machine) []Effect { return m.Heard(claim(stranger), at(20*time.Second)) }, nil, Held},
		{"a foreign claim is defended once the delay is over", func(t *testing.T) *Machine {
			m := held(t)
			m.Heard(claim(stranger), at(20*time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Tick(m.Deadline()) }, []Action{Defend}, Held},
		{"a second claim within the defend interval waits", func(t *testing.T) *Machine {
			m := held(t)
			m.Heard(claim(stranger), at(20*time.Second))
			m.Tick(m.Deadline())
			m.Heard(claim(stranger), at(21*time.Second))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(29 * time.Second)) }, nil, Held},
		{"a successor's claim that overtakes the news from the API ends the hold at once", held,
			func(m *Machine) []Effect { return m.Heard(titled(peer, 2, 1), at(20*time.Second)) }, []Action{Silence, CancelProbe, Unbind}, Guarding},
		{"an answer between verdict and bind withdraws", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.SetWish(wanted(), at(0))
			m.Verdict(1, MAC{}, MAC{}, at(1))
			return m
		}, func(m *Machine) []Effect { return m.LateAnswer(stranger, at(2)) }, []Action{Silence, CancelProbe, Unbind}, Waiting},
		{"a lost lease silences and probes anew", held,
			func(m *Machine) []Effect { return m.Lost(at(time.Minute)) }, []Action{Silence, CancelProbe, Probe}, Probing},
		{"a peer that answers after a lost lease keeps the VIP", func(t *testing.T) *Machine {
			m := held(t)
			m.Lost(at(time.Minute))
			return m
		}, func(m *Machine) []Effect { return m.Verdict(2, peer, MAC{}, at(time.Minute)) }, []Action{CancelProbe}, Guarding},
		{"without carrier the address leaves", held,
			func(m *Machine) []Effect { return m.NICsChanged(noCarrier, at(time.Second)) }, []Action{Silence, CancelProbe, Unbind}, Waiting},
		{"with carrier again it is probed first", func(t *testing.T) *Machine {
			m := held(t)
			m.NICsChanged(noCarrier, at(time.Second))
			return m
		}, func(m *Machine) []Effect { return m.NICsChanged(ok, at(time.Second)) }, []Action{Probe}, Probing},
		{"an address held back by the kernel is silenced", held,
			func(m *Machine) []Effect { return m.Missing(true) }, []Action{Silence}, Held},
		{"an adopted address stays until the API has spoken", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.Adopt(eth0, Memory{}, at(0))
			return m
		}, func(m *Machine) []Effect { return m.Tick(at(time.Hour)) }, nil, Held},
		{"an adopted address that the API still wants is kept as it is", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.Adopt(eth0, Memory{}, at(0))
			return m
		}, func(m *Machine) []Effect { return m.SetWish(wanted(), at(0)) }, nil, Held},
		{"an adopted address whose lease runs out before the API speaks is let go", func(*testing.T) *Machine {
			m := New(vip, DefaultConfig(), chooseEth0)
			m.Adopt(eth0, Memory{}, at(0))
			return m
		}, func(m *Machine) []Effect { return m.Lost(at(0)) }, []Action{Silence, CancelProbe, Unbind}, Idle},
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
		})
	}
}

func TestAfterALateAnswerProbesArePatient(t *testing.T) {
	m := held(t)
	m.LateAnswer(stranger, at(300*time.Millisecond))
	effects := m.Tick(m.Deadline())
	if len(effects) != 1 || effects[0].Do != Probe || !effects[0].Patient {
		t.Fatalf("effects = %+v, want a patient probe: the owner would answer late again", effects)
	}
	m.Verdict(2, MAC{}, MAC{}, at(10*time.Second))
	m.BindDone(nil, at(10*time.Second))
	m.Lost(at(time.Minute))
	if m.patient {
		t.Error("once the address was free, probes should be quick again")
	}
}

func TestAfterALostLeasePeersAnswersCount(t *testing.T) {
	m := New(vip, DefaultConfig(), chooseEth0)
	if first := m.SetWish(wanted(), at(0)); !first[0].Ignore[peer] {
		t.Error("the first probe should ignore the previous owner, who answers until it hears our claim")
	}
	m.Verdict(1, MAC{}, MAC{}, at(0))
	m.BindDone(nil, at(0))
	effects := m.Lost(at(time.Minute))
	if probe := effects[len(effects)-1]; len(probe.Ignore) != 0 {
		t.Errorf("the probe after a lost lease ignores %v, want nobody", probe.Ignore)
	}
}

// world follows effects as the kernel and the wire would, and fails on one that breaks a promise.
type world struct {
	bound, announcing bool
}

func (w *world) apply(t *rapid.T, m *Machine, effects []Effect, now time.Time) {
	for i := 0; i < len(effects); i++ {
		switch e := effects[i]; e.Do {
		case Bind:
			w.bound = true
			effects = append(effects, m.BindDone(nil, now)...)
		case Unbind:
			if w.announcing {
				t.Fatal("unbound while announcements are still to come")
			}
			w.bound = false
		case Announce, Defend, Assert:
			if !w.bound {
				t.Fatalf("%v of an address that isn't bound", e.Do)
			}
			w.announcing = true
		case Silence:
			w.announcing = false
		}
	}
	if m.Bound() != w.bound && m.State() != Probing && m.State() != Waiting {
		t.Fatalf("machine says bound=%v in state %v, the kernel says %v", m.Bound(), m.State(), w.bound)
	}
}

// Whatever happens in whatever order: what isn't bound is never announced, an address that nobody wants any more is gone
// once linger has passed, and the machine always has a deadline while it waits for time to pass.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nicUp := true
		m := New(vip, DefaultConfig(), func(netip.Addr, []string) (NIC, error) {
			if !nicUp {
				return NIC{}, errors.New("no interface with carrier")
			}
			return eth0, nil
		})
		var w world
		now := epoch
		mac := rapid.SampledFrom([]MAC{peer, stranger})
		pod := rapid.SampledFrom([]string{"a", "b"})
		saying := rapid.Custom(func(t *rapid.T) Said {
			return Said{
				From: mac.Draw(t, "from"), Kind: wire.Kind(rapid.IntRange(int(wire.Answer), int(wire.Probe)).Draw(t, "kind")), Titled: rapid.Bool().Draw(t, "titled"),
				Title: Title{Term: rapid.Int64Range(0, 3).Draw(t, "term"), Place: rapid.Uint8Range(0, 3).Draw(t, "place")},
			}
		})
		wish := rapid.Custom(func(t *rapid.T) *Wish {
			w := &Wish{Pod: pod.Draw(t, "pod"), Term: rapid.Int64Range(0, 3).Draw(t, "term"), Place: 1, Peers: map[MAC]uint8{peer: 0}}
			if rapid.Bool().Draw(t, "standby") {
				w.Standby, w.Place, w.Active, w.Peers = true, 2, peer, map[MAC]uint8{peer: 1}
			}
			return w
		})
		do := func(effects []Effect) { w.apply(t, m, effects, now) }
		t.Repeat(map[string]func(*rapid.T){
			"wish":              func(t *rapid.T) { do(m.SetWish(wish.Draw(t, "wish"), now)) },
			"ending":            func(t *rapid.T) { do(m.SetWish(&Wish{Ending: true}, now)) },
			"vanish":            func(t *rapid.T) { do(m.SetWish(nil, now)) },
			"release":           func(t *rapid.T) { do(m.SetWish(&Wish{Release: true}, now)) },
			"free":              func(t *rapid.T) { do(m.Verdict(m.probe, MAC{}, MAC{}, now)) },
			"taken":             func(t *rapid.T) { do(m.Verdict(m.probe, mac.Draw(t, "mac"), MAC{}, now)) },
			"heard":             func(t *rapid.T) { do(m.Heard(saying.Draw(t, "said"), now)) },
			"late":              func(t *rapid.T) { do(m.LateAnswer(mac.Draw(t, "mac"), now)) },
			"heard the guarded": func(*rapid.T) { m.Answered(peer) },
			"silent":            func(*rapid.T) { do(m.Silent(peer, false, now)) },
			"returned":          func(*rapid.T) { do(m.Returned(peer, now)) },
			"restart": func(*rapid.T) {
				next := New(vip, m.config, m.choose)
				if m.Bound() {
					next.Adopt(m.nic, m.Memory(), now)
				} else {
					next.Remember(m.Memory())
					w.announcing = false
				}
				was := m.wish
				m = next
				if was != nil {
					do(m.SetWish(was, now))
				}
			},
			"missing": func(t *rapid.T) { do(m.Missing(rapid.Bool().Draw(t, "missing"))) },
			"lost": func(t *rapid.T) {
				if m.Bound() {
					w.bound = false
				}
				w.announcing = false
				do(m.Lost(now))
			},
			"carrier": func(t *rapid.T) {
				nicUp = rapid.Bool().Draw(t, "up")
				do(m.NICsChanged(func(string) bool { return nicUp }, now))
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 20000).Draw(t, "ms")) * time.Millisecond)
				do(m.Tick(now))
			},
		})
		do(m.SetWish(nil, now))
		now = now.Add(m.config.Linger)
		do(m.Tick(now))
		if w.bound || w.announcing || !m.Done() {
			t.Fatalf("left behind: bound %v, announcing %v, state %v", w.bound, w.announcing, m.State())
		}
	})
}

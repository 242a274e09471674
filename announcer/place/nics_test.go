package place

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// twoNICs is a node whose NICs can both announce; dark ones have no carrier. Without interfaces named eth0 comes first.
type twoNICs struct{ dark []string }

func (n *twoNICs) choose(_ netip.Addr, interfaces []string) (NIC, error) {
	if len(interfaces) == 0 {
		interfaces = []string{"eth0", "eth1"}
	}
	for _, name := range interfaces {
		if n.usable(name) && (name == "eth0" || name == "eth1") {
			return NIC{Name: name}, nil
		}
	}
	return NIC{}, errors.New("no interface with carrier")
}

func (n *twoNICs) usable(name string) bool { return !slices.Contains(n.dark, name) }

func on(interfaces ...string) *Wish {
	w := wanted()
	w.Interfaces = interfaces
	return w
}

func TestAVIPMovesBetweenTheNICsOfItsNode(t *testing.T) {
	heldOn := func(n *twoNICs) *Machine {
		m := New(vip, DefaultConfig(), n.choose)
		m.SetWish(on("eth0", "eth1"), at(0))
		m.Verdict(m.probe, MAC{}, MAC{}, at(0))
		m.BindDone(nil, at(0))
		if m.State() != Held || m.NIC().Name != "eth0" {
			t.Fatalf("%v on %s, want Held on eth0", m.State(), m.NIC().Name)
		}
		return m
	}
	standby := func(n *twoNICs) *Machine {
		m := New(vip, DefaultConfig(), n.choose)
		m.SetWish(standingBy(1), at(0))
		m.Answered(active)
		if !m.OnGuard() || m.NIC().Name != "eth0" {
			t.Fatalf("%v on %s, want it on guard on eth0", m.State(), m.NIC().Name)
		}
		return m
	}
	leave := []Action{Silence, CancelProbe, Unbind}
	tests := []struct {
		name  string
		given func(*twoNICs) *Machine
		when  func(*Machine, *twoNICs) []Effect
		want  []Action
		state State
		nic   string
	}{
		{"its carrier is lost: it is asked for on the other one, as a standby may have it by then", heldOn,
			func(m *Machine, n *twoNICs) []Effect {
				n.dark = []string{"eth0"}
				return m.NICsChanged(n.usable, at(1))
			},
			append(slices.Clone(leave), Probe), Probing, "eth1"},
		{"and announced there if nobody has", func(n *twoNICs) *Machine {
			m := heldOn(n)
			n.dark = []string{"eth0"}
			m.NICsChanged(n.usable, at(1))
			return m
		}, func(m *Machine, _ *twoNICs) []Effect {
			return append(m.Verdict(m.probe, MAC{}, MAC{}, at(2)), m.BindDone(nil, at(2))...)
		}, []Action{Bind, Announce}, Held, "eth1"},
		{"the first one's carrier comes back: nothing moves", func(n *twoNICs) *Machine {
			m := heldOn(n)
			n.dark = []string{"eth0"}
			m.NICsChanged(n.usable, at(1))
			m.Verdict(m.probe, MAC{}, MAC{}, at(2))
			m.BindDone(nil, at(2))
			return m
		}, func(m *Machine, n *twoNICs) []Effect { n.dark = nil; return m.NICsChanged(n.usable, at(3)) }, nil, Held, "eth1"},
		{"the other NIC's carrier is none of its business", heldOn,
			func(m *Machine, n *twoNICs) []Effect {
				n.dark = []string{"eth1"}
				return m.NICsChanged(n.usable, at(1))
			}, nil, Held, "eth0"},
		{"both are lost", heldOn,
			func(m *Machine, n *twoNICs) []Effect {
				n.dark = []string{"eth0", "eth1"}
				return m.NICsChanged(n.usable, at(1))
			}, leave, Waiting, "eth0"},
		{"the pool's interfaces change", heldOn,
			func(m *Machine, _ *twoNICs) []Effect { return m.SetWish(on("eth1"), at(1)) },
			append(slices.Clone(leave), Probe), Probing, "eth1"},
		{"to others that lead to the same NIC", heldOn,
			func(m *Machine, _ *twoNICs) []Effect { return m.SetWish(on("eth0"), at(1)) }, nil, Held, "eth0"},
		{"to some that this node hasn't: it stays until another node has it", heldOn,
			func(m *Machine, _ *twoNICs) []Effect { return m.SetWish(on("eth7"), at(1)) }, nil, Held, "eth0"},
		{"its NIC's own address has gone and another has one in the subnet", func(n *twoNICs) *Machine {
			m := heldOn(n)
			m.Missing(true)
			m.choose = func(netip.Addr, []string) (NIC, error) { return NIC{Name: "eth1"}, nil }
			return m
		}, func(m *Machine, n *twoNICs) []Effect { return m.NICsChanged(n.usable, at(1)) }, append(slices.Clone(leave), Probe), Probing, "eth1"},
		{"and none has", func(n *twoNICs) *Machine {
			m := heldOn(n)
			m.Missing(true)
			m.choose = func(netip.Addr, []string) (NIC, error) { return NIC{}, errors.New("no interface in the subnet") }
			return m
		}, func(m *Machine, n *twoNICs) []Effect { return m.NICsChanged(n.usable, at(1)) }, nil, Held, "eth0"},
		{"a standby guards on the other one", standby,
			func(m *Machine, n *twoNICs) []Effect {
				n.dark = []string{"eth0"}
				return m.NICsChanged(n.usable, at(1))
			}, nil, Guarding, "eth1"},
		{"a standby follows the pool's interfaces", standby,
			func(m *Machine, _ *twoNICs) []Effect {
				w := standingBy(1)
				w.Interfaces = []string{"eth1"}
				return m.SetWish(w, at(1))
			}, nil, Guarding, "eth1"},
		{"what lingers is not begun anew", func(n *twoNICs) *Machine { m := heldOn(n); m.SetWish(nil, at(1)); return m },
			func(m *Machine, n *twoNICs) []Effect {
				n.dark = []string{"eth0"}
				return m.NICsChanged(n.usable, at(2))
			}, leave, Idle, "eth0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var n twoNICs
			m := tt.given(&n)
			if diff := cmp.Diff(tt.want, actions(tt.when(m, &n))); diff != "" {
				t.Errorf("effects (-want +got):\n%s", diff)
			}
			if m.State() != tt.state || m.NIC().Name != tt.nic {
				t.Errorf("%v on %s, want %v on %s", m.State(), m.NIC().Name, tt.state, tt.nic)
			}
		})
	}
}

func TestAStandbyThatMovesToAnotherNICKeepsWhatItKnows(t *testing.T) {
	var n twoNICs
	m := New(vip, DefaultConfig(), n.choose)
	m.SetWish(standingBy(1), at(0))
	m.Answered(active)
	n.dark = []string{"eth0"}
	m.NICsChanged(n.usable, at(1))
	if watched, ok := m.Watching(); !ok || watched.MAC != active || m.OnGuard() {
		t.Errorf("watching %v (%v), on guard %v, want the same node, which is to be heard on the new NIC first", watched, ok, m.OnGuard())
	}
}

func TestTheActiveOnAnotherOfItsNICsIsNotSilent(t *testing.T) {
	second := MAC{2, 0, 0, 0, 1, 3}
	m := New(vip, DefaultConfig(), chooseEth0)
	w := standingBy(1)
	w.Peers[second] = w.Peers[active]
	m.SetWish(w, at(0))
	m.Answered(active)
	// The active's first NIC has lost its carrier. What it says from the second shows the same title.
	m.Heard(Said{From: second, NIC: "eth0", Kind: wire.Claim, Title: Title{Term: 1, Place: 1}, Titled: true}, at(time.Second))
	if effects := m.Silent(active, false, at(2*time.Second)); len(effects) != 0 || m.State() != Guarding {
		t.Errorf("%v, effects %v, want no takeover", m.State(), actions(effects))
	}
	if watched, _ := m.Watching(); watched.MAC != second {
		t.Errorf("watching %s, want the NIC that announces by now", watched.MAC)
	}
}

func TestWhatIsHeardOnAnotherNICIsNoNews(t *testing.T) {
	claim := Said{From: stranger, Kind: wire.Claim}
	for _, tt := range []struct {
		name, nic string
		want      MAC
	}{
		{"on the address's NIC", "eth0", stranger},
		{"on another one", "eth1", MAC{}},
		{"not known where", "", stranger},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := held(t)
			m.lateUntil = time.Time{}
			said := claim
			said.NIC = tt.nic
			m.Heard(said, at(time.Minute))
			if m.Contested() != tt.want {
				t.Errorf("contested by %s, want %s", m.Contested(), tt.want)
			}
		})
	}
}

func TestANewMACAddressOfTheNICIsAnnounced(t *testing.T) {
	m := held(t)
	if effects := m.SetMAC(MAC{2, 0, 0, 0, 0, 9}); len(effects) != 0 {
		t.Errorf("effects %v when the MAC address became known, want none", actions(effects))
	}
	if diff := cmp.Diff([]Action{Announce}, actions(m.SetMAC(MAC{2, 0, 0, 0, 0, 8}))); diff != "" {
		t.Errorf("effects of another one (-want +got):\n%s", diff)
	}
	m.Missing(true)
	if effects := m.SetMAC(MAC{2, 0, 0, 0, 0, 7}); len(effects) != 0 {
		t.Errorf("effects %v while the address is missing, want none", actions(effects))
	}
}

package place

import (
	"fmt"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// Said is a frame about the address from a machine that isn't this one.
type Said struct {
	From MAC
	// NIC on which it was heard, by name. What is said on another segment is no news of this one. Empty: on the address's.
	NIC string
	// Kind is Probe for a machine that asks for the address: because it wants it, or, with a title, because it has it and asks who
	// else does. All others mean that it has it, or says so.
	Kind wire.Kind
	// Title by which it has it; only announcements and questions of our kind show one.
	Title  Title
	Titled bool
}

// Heard tells of a frame about the address. Between nodes of the cluster the higher title wins, whatever came first.
func (m *Machine) Heard(said Said, now time.Time) []Effect {
	if said.NIC != "" && m.nic.Name != "" && said.NIC != m.nic.Name {
		return nil
	}
	title, ours := m.titleOf(said)
	if said.Kind == wire.Probe && !said.Titled {
		if m.state == Held && m.isPeer(said.From) {
			return m.assert() // an answer with our title, which the kernel's has not
		}
		return nil
	}
	switch m.state {
	case Guarding:
		m.learn(said, title, ours, now)
	case Probing, Binding, Waiting:
		if said.Titled && m.wish != nil && title.Compare(higher(m.title, wished(m.wish))) > 0 && !(m.state == Waiting && m.reason == ReasonNoInterface) {
			return m.superseded(said.From, title, now)
		}
	case Held:
		return m.heardWhileHeld(said, title, ours, now)
	case Lingering: // the successor; who was before us is none
		if !ours || title.Compare(m.title) > 0 {
			return m.stepAside(said.From, title, now)
		}
	}
	return nil
}

func (m *Machine) heardWhileHeld(said Said, title Title, ours bool, now time.Time) []Effect {
	order := title.Compare(m.title)
	if order == 0 && said.Titled && m.isPeer(said.From) && m.nic.MAC != (MAC{}) {
		order = said.From.Compare(m.nic.MAC) // their lists differ, which the API will mend
	}
	if said.Titled && said.From == m.doubted {
		m.doubted = MAC{}
	}
	switch {
	case ours && said.Titled && order > 0:
		return m.superseded(said.From, title, now)
	case ours && said.Titled && order < 0:
		return m.assert()
	case ours && !said.Titled:
		return m.doubt(said, title, now)
	}
	// A machine that isn't ours, or two placeholders that nobody has put in an order.
	if now.Before(m.lateUntil) {
		return nil // the watch for late answers judges these: it knows peers and proxies, and withdraws
	}
	m.contested, m.contestedAt = said.From, now
	if m.defendAt.IsZero() {
		m.defendAt = latest(now.Add(m.config.DefendDelay), m.lastDefence.Add(m.config.DefendInterval))
	}
	return nil
}

// doubt deals with a peer that speaks for the address and doesn't show by what title, as kernels do. It is shown ours: should its
// title be higher it shows that, and otherwise it gives way. Where it goes on to announce the address without a title, titles don't
// get through, and its place counts. What kernels say by themselves doesn't: with kube-proxy in IPVS mode all of them have the address.
func (m *Machine) doubt(said Said, title Title, now time.Time) []Effect {
	if now.Sub(m.boundAt) < m.config.Settle {
		return nil // a straggler of the move
	}
	if said.Kind == wire.Claim && title.Compare(m.title) > 0 {
		waited := now.Sub(m.doubtedAt)
		if said.From == m.doubted && waited > doubtAfter && waited < doubtFor {
			return m.superseded(said.From, title, now)
		}
		if said.From != m.doubted || waited >= doubtFor {
			m.doubted, m.doubtedAt = said.From, now
		}
	}
	return m.assert()
}

// A peer that announces the address longer than doubtAfter after it was shown our title has seen it; what it says after doubtFor is
// another matter.
const (
	doubtAfter = 300 * time.Millisecond
	doubtFor   = 5 * time.Second
)

// assert shows our title to who speaks for the address.
func (m *Machine) assert() []Effect {
	if m.missing {
		return nil
	}
	return []Effect{{Do: Assert, NIC: m.nic}}
}

// Unsure says whether another node may have the address where it can't be heard: the wire is asked now and then, until that node has
// come back.
func (m *Machine) Unsure() bool { return m.Bound() && m.unsure }

// titleOf returns by what title a frame speaks for the address. Where it doesn't say so itself, the place of its sender among our
// peers counts: the kernel's own answers have no title. ours is false for machines outside of the cluster.
func (m *Machine) titleOf(said Said) (title Title, ours bool) {
	if said.Titled {
		return said.Title, true
	}
	if m.isPeer(said.From) {
		return Title{Term: m.told.Term, Place: m.told.Peers[said.From]}, true
	}
	return Title{}, false
}

// learn follows, while the address is guarded, who has it by now.
func (m *Machine) learn(said Said, title Title, ours bool, now time.Time) {
	switch order := title.Compare(m.guardedTitle); {
	case !ours, !said.Titled && said.Kind == wire.Use: // a kernel that has the address for another reason asks from it, too
	case said.From == m.guarded:
		m.guardedTitle = higher(m.guardedTitle, title)
		if said.Titled && !m.had {
			m.had = true
			m.searchLater(now)
		}
	case order > 0, order == 0 && !m.heard && m.isPeer(said.From): // the latter is another NIC of the same node
		m.watch(said.From, title, true, now)
	default:
		m.other, m.otherTitle, m.otherAt = said.From, title, now
	}
}

// superseded gives way to another node's higher title, and guards that node from now on.
func (m *Machine) superseded(by MAC, title Title, now time.Time) []Effect {
	effects := m.letGo()
	if m.wish == nil {
		return effects
	}
	m.watch(by, title, true, now)
	return append(effects, m.guard(now)...)
}

// stepAside ends what lingers; a standby of the same VIP may begin to guard here. by is the successor, if it is known.
func (m *Machine) stepAside(by MAC, title Title, now time.Time) []Effect {
	effects := m.letGo()
	if m.wish != nil && m.wish.Standby {
		if by != (MAC{}) {
			m.watch(by, title, true, now)
		}
		effects = append(effects, m.guard(now)...)
	}
	return effects
}

func (m *Machine) supersededMessage() string {
	return fmt.Sprintf("%s of another node of the cluster has taken %s over", m.guarded, m.addr)
}

// Contested returns the machine outside of the cluster that claims the address, too; zero if there is none.
func (m *Machine) Contested() MAC { return m.contested }

// Searching says whether the wire is being asked for an address that another node had.
func (m *Machine) Searching() bool { return m.searching }

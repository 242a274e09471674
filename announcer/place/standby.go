package place

import (
	"fmt"
	"time"
)

// Watched is whom a place wants to be watched on the wire.
type Watched struct {
	// MAC of the other node's NIC.
	MAC MAC
	// Rank among those who watch it.
	Rank int
	// Chase: the address was taken over from this node, which is to be told so at its first answer. Otherwise it is guarded.
	Chase bool
}

// Watching returns whom to watch for this address, if anybody.
func (m *Machine) Watching() (Watched, bool) {
	switch {
	case m.state == Guarding && m.wish.Active != MAC{}:
		return Watched{MAC: m.wish.Active, Rank: m.wish.Rank}, true
	case m.state == Held && m.takenFrom != MAC{}:
		return Watched{MAC: m.takenFrom, Chase: true}, true
	}
	return Watched{}, false
}

// guard begins to watch the active.
func (m *Machine) guard() []Effect {
	m.retryAt = time.Time{}
	nic, err := m.choose(m.addr, m.wish.Interfaces)
	if err != nil {
		m.wait(ReasonNoInterface, err.Error())
		return nil
	}
	m.state, m.nic, m.lost, m.heard = Guarding, nic, false, false
	return nil
}

// standBy follows a wish to stand by; previous is the wish before it.
func (m *Machine) standBy(previous *Wish) []Effect {
	switch m.state {
	case Guarding:
		if previous == nil || previous.Active != m.wish.Active {
			m.heard = false
		}
		return nil
	case Lingering: // its own time, or the successor, ends it
		return nil
	case Held:
		if m.wish.Term <= m.heldTerm {
			if m.takenFrom == (MAC{}) { // in an earlier process
				m.takenFrom = m.wish.Active
			}
			return nil // it took over, and the API doesn't know yet
		}
	case Waiting:
		if previous != nil && previous.Standby && m.reason != ReasonNoInterface {
			return nil // the back-off goes on
		}
	}
	effects := m.letGo()
	return append(effects, m.guard()...)
}

// Answered tells that the active that is guarded has answered for the address.
func (m *Machine) Answered(from MAC) {
	if m.state == Guarding && from == m.wish.Active {
		m.heard = true
	}
}

// Silent tells that the active that is guarded no longer answers, while the wire works: the address is taken over. There is no
// probe before it, as asking for the address is what found the silence.
func (m *Machine) Silent(from MAC) []Effect {
	if m.state != Guarding || from != m.wish.Active {
		return nil
	}
	m.state, m.takenFrom = Binding, from
	return []Effect{{Do: Bind, NIC: m.nic}}
}

// Returned tells that the node which the address was taken over from answers for it again: it hasn't heard our claim.
func (m *Machine) Returned(from MAC) []Effect {
	if m.state != Held || m.missing || from != m.takenFrom {
		return nil
	}
	return []Effect{{Do: Defend, NIC: m.nic}}
}

// superseded lets go of an address that a successor has claimed. Should the API not say so too, the address is asked for again
// after a while, and the successor's answer counts.
func (m *Machine) superseded(from MAC, now time.Time) []Effect {
	effects := m.letGo()
	switch {
	case m.wish == nil:
	case m.wish.Standby:
		effects = append(effects, m.guard()...)
	default:
		m.lost = true
		m.backOff(ReasonSuperseded, fmt.Sprintf("%s of another node of the cluster has taken %s over", from, m.addr), now)
	}
	return effects
}

// stepAside ends what lingers; a standby of the same VIP may begin to guard here.
func (m *Machine) stepAside() []Effect {
	effects := m.letGo()
	if m.wish != nil && m.wish.Standby {
		effects = append(effects, m.guard()...)
	}
	return effects
}

func (m *Machine) guardReport() Report {
	switch {
	case m.wish.Active == MAC{}:
		return Report{Reason: ReasonNothingToGuard, Message: fmt.Sprintf("no other node is known to announce %s yet", m.addr)}
	case !m.heard:
		return Report{Reason: ReasonNotHeard, Message: fmt.Sprintf("%s has not answered for %s here yet, so its silence would mean nothing", m.wish.Active, m.addr)}
	}
	return Report{Ready: true, Reason: ReasonGuarding, Message: fmt.Sprintf("%s answers for %s and is watched on %s", m.wish.Active, m.addr, m.nic.Name)}
}

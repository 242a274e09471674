package place

import (
	"fmt"
	"slices"
	"time"
)

// NICsChanged looks again for a NIC, or leaves one that lost its carrier or is gone: a port without carrier can neither
// announce nor learn that somebody else has taken over. So does an address that its NIC has no subnet for any more while another has.
func (m *Machine) NICsChanged(usable func(name string) bool, now time.Time) []Effect {
	switch {
	case m.state == Waiting && m.reason == ReasonNoInterface:
		return m.start(now)
	case usable(m.nic.Name):
		if !m.missing || m.state != Held || m.wish == nil {
			return nil
		}
		if other, err := m.choose(m.addr, m.wish.Interfaces); err != nil || other.Name == m.nic.Name {
			return nil
		}
		return m.leaveNIC(usable, now)
	case m.state == Lingering:
		return m.stepAside(MAC{}, Title{}, now)
	case m.state == Guarding, m.state == Held, m.state == Probing, m.state == Binding:
		return m.leaveNIC(usable, now)
	}
	return nil
}

// leaveNIC leaves the NIC for another one of this node that will do, or waits where there is none.
func (m *Machine) leaveNIC(usable func(name string) bool, now time.Time) []Effect {
	guarding := m.state == Guarding
	effects := m.letGo()
	if m.wish == nil { // adopted, and the API hasn't spoken yet
		return effects
	}
	m.lost = !guarding || !m.wish.Standby // others may have taken over while we were cut off
	other, err := m.choose(m.addr, m.wish.Interfaces)
	switch {
	case err != nil || !usable(other.Name):
		m.wait(ReasonNoInterface, fmt.Sprintf("interface %s has no carrier", m.nic.Name))
		return effects
	case guarding:
		return append(effects, m.guard(now)...)
	}
	return append(effects, m.start(now)...)
}

// rewire follows a change of the interfaces that may announce the address to another NIC. Where the node has none of them it stays
// where it is, until the controller has found another node.
func (m *Machine) rewire(previous *Wish, now time.Time) []Effect {
	if previous == nil || slices.Equal(previous.Interfaces, m.wish.Interfaces) {
		return nil
	}
	switch m.state {
	case Held, Probing, Binding, Guarding:
	default:
		return nil
	}
	if other, err := m.choose(m.addr, m.wish.Interfaces); err != nil || other.Name == m.nic.Name {
		return nil
	}
	return m.leaveNIC(func(string) bool { return true }, now)
}

// Verdict tells the outcome of a probe: who answers, the zero MAC for nobody. ignored is one of those who were to be ignored and
// answered, the zero MAC if none did.
func (m *Machine) Verdict(probe uint64, owner, ignored MAC, now time.Time) []Effect {
	if m.state != Probing || probe != m.probe {
		return nil
	}
	switch {
	case owner == (MAC{}) && m.searching:
		m.takeOver(now)
		m.probed = true // late answers count
		return []Effect{{Do: Bind, NIC: m.nic}}
	case owner == (MAC{}):
		m.state = Binding
		switch {
		case m.lost:
		case ignored != MAC{}:
			m.chase(ignored, now.Add(m.config.HandoverFor))
		default:
			m.chase(m.wish.Previous, now.Add(m.config.ChaseFor)) // it is cut off, or gone
			m.unsure = m.wish.Previous != MAC{}
		}
		return []Effect{{Do: Bind, NIC: m.nic}}
	case m.isPeer(owner):
		retries := m.retries
		title, _ := m.titleOf(Said{From: owner})
		title = higher(title, Title{Term: m.told.Term, Place: 1}) // whatever it was when we were told, it has it now
		if owner == m.guarded {
			title = higher(title, m.guardedTitle)
		}
		effects := m.superseded(owner, title, now)
		m.retries = retries
		m.searchLater(now)
		return effects
	}
	m.backOff(ReasonConflict, fmt.Sprintf("a machine with MAC address %s answers for %s", owner, m.addr), now)
	return []Effect{{Do: CancelProbe}}
}

// BindDone tells what the kernel answered to Bind.
func (m *Machine) BindDone(err error, now time.Time) []Effect {
	if m.state != Binding {
		return nil
	}
	if err != nil {
		m.lost = m.lost || !m.probed // the next try asks first who has it by then
		m.backOff(ReasonBindFailed, err.Error(), now)
		return []Effect{{Do: CancelProbe}}
	}
	m.state, m.missing, m.retries, m.lost, m.patient = Held, false, 0, false, false
	m.contested, m.contestedAt = MAC{}, time.Time{}
	m.title, m.boundAt = higher(m.title, wished(m.wish)), now
	m.guarded, m.guardedTitle, m.had = MAC{}, Title{}, false
	if m.probed {
		m.lateUntil = now.Add(m.config.LateWindow)
	}
	return []Effect{{Do: Announce, NIC: m.nic}}
}

// Missing tells that the kernel holds the address back (the NIC lost its own) or has it again.
func (m *Machine) Missing(missing bool) []Effect {
	if !m.Bound() || m.missing == missing {
		return nil
	}
	m.missing = missing
	if missing {
		return []Effect{{Do: Silence}}
	}
	return []Effect{{Do: Announce, NIC: m.nic}}
}

// Lost tells that the lease ran out: the process was stopped or too slow, the kernel has removed the address, and somebody
// else may have it by now. It is probed like a new one, and peers' answers count.
func (m *Machine) Lost(now time.Time) []Effect {
	switch m.state {
	case Lingering:
		return m.stepAside(MAC{}, Title{}, now)
	case Held, Binding:
		m.lost = true
		m.chase(MAC{}, time.Time{})
		if m.wish == nil { // adopted, and the API hasn't spoken yet
			return m.letGo()
		}
		effects := []Effect{{Do: Silence}, {Do: CancelProbe}}
		m.state, m.retries = Waiting, 0
		return append(effects, m.start(now)...)
	}
	return nil
}

// LateAnswer tells that somebody answered our probe after its verdict. Within the late window we withdraw.
func (m *Machine) LateAnswer(from MAC, now time.Time) []Effect {
	if m.state != Binding && (m.state != Held || m.lateUntil.IsZero() || now.After(m.lateUntil)) {
		return nil
	}
	if m.isPeer(from) { // titles decide between peers
		return nil
	}
	effects := m.letGo()
	if m.wish == nil {
		return effects
	}
	m.patient = true
	m.backOff(ReasonConflict, fmt.Sprintf("a machine with MAC address %s answers for %s", from, m.addr), now)
	return effects
}

// Tick does what has become due. Deadline says when to call it.
func (m *Machine) Tick(now time.Time) []Effect {
	var effects []Effect
	if due(m.lingerUntil, now) && m.state == Lingering {
		return m.stepAside(MAC{}, Title{}, now)
	}
	if due(m.searchAt, now) && m.state == Guarding {
		return m.search(now)
	}
	if due(m.chaseUntil, now) {
		m.chase(MAC{}, time.Time{})
	}
	if due(m.retryAt, now) && m.state == Waiting {
		return m.start(now)
	}
	if due(m.defendAt, now) {
		m.defendAt = time.Time{}
		if m.state == Held && !m.missing {
			m.lastDefence = now
			effects = append(effects, Effect{Do: Defend, NIC: m.nic})
		}
	}
	if !m.contestedAt.IsZero() && !now.Before(m.contestedAt.Add(m.config.ContestedFor)) {
		m.contested, m.contestedAt = MAC{}, time.Time{}
	}
	return effects
}

// Deadline returns when Tick is next due, or zero.
func (m *Machine) Deadline() time.Time {
	deadline := earliest(m.lingerUntil, m.retryAt)
	deadline = earliest(deadline, m.defendAt)
	deadline = earliest(deadline, m.searchAt)
	deadline = earliest(deadline, m.chaseUntil)
	if !m.contestedAt.IsZero() {
		deadline = earliest(deadline, m.contestedAt.Add(m.config.ContestedFor))
	}
	return deadline
}

// Report is what the placeholder's conditions should say.
type Report struct {
	// Ready: announced, or guarding.
	Ready, Announced bool
	Reason           Reason
	Message          string
}

// Report describes the place for people.
func (m *Machine) Report() Report {
	switch m.state {
	case Held, Lingering:
		switch {
		case m.missing:
			return Report{false, false, ReasonNoNodeAddress, fmt.Sprintf("%s waits until interface %s has its own address again", m.addr, m.nic.Name)}
		case m.contested != MAC{}:
			return Report{true, true, ReasonConflict, fmt.Sprintf("a machine with MAC address %s claims %s too; it is defended", m.contested, m.addr)}
		case m.wish != nil && m.wish.Standby:
			return Report{true, true, ReasonTookOver, fmt.Sprintf("%s is announced on %s, as the node that had it fell silent", m.addr, m.nic.Name)}
		}
		return Report{true, true, ReasonAnnouncing, fmt.Sprintf("%s is announced on %s", m.addr, m.nic.Name)}
	case Waiting:
		return Report{false, false, m.reason, m.message}
	case Guarding:
		return m.guardReport()
	}
	if m.searching {
		return m.guardReport()
	}
	if m.lost {
		return Report{false, false, ReasonLost, fmt.Sprintf("the lease on %s ran out; asking who has it now", m.addr)}
	}
	return Report{false, false, ReasonProbing, fmt.Sprintf("asking whether anybody else has %s", m.addr)}
}

package place

import (
	"fmt"
	"time"
)

// SetWish tells what the API wants; nil means that no placeholder on this node names the address.
func (m *Machine) SetWish(wish *Wish, now time.Time) []Effect {
	previous := m.wish
	switch {
	case wish != nil && wish.Release:
		m.wish = nil
		return m.letGo()
	case wish == nil || wish.Ending:
		m.wish = nil
		return m.linger(now)
	}
	m.wish = wish
	if wish.Standby {
		return m.standBy(previous)
	}
	if !wish.Peers[m.takenFrom] {
		m.takenFrom = MAC{} // the API no longer counts on it
	}
	switch m.state {
	case Held:
		m.heldTerm = wish.Term
		return nil
	case Probing, Binding:
		return nil
	case Guarding: // promoted
		m.retries, m.lost, m.patient = 0, false, false
		return m.start(now)
	case Lingering: // the VIP came back to this node before anybody else took it
		m.state, m.lingerUntil, m.heldTerm = Held, time.Time{}, wish.Term
		return []Effect{{Do: Announce, NIC: m.nic}}
	case Waiting:
		if previous != nil && previous.Pod == wish.Pod && m.reason != ReasonNoInterface {
			return nil // the back-off goes on
		}
		if previous == nil || previous.Pod != wish.Pod {
			m.retries = 0
		}
	case Idle:
		m.retries, m.lost, m.patient = 0, false, false
	}
	return m.start(now)
}

// NICsChanged looks again for a NIC, or leaves one that lost its carrier or is gone: a port without carrier can neither
// announce nor learn that somebody else has taken over.
func (m *Machine) NICsChanged(usable func(name string) bool, now time.Time) []Effect {
	switch {
	case m.state == Waiting && m.reason == ReasonNoInterface:
		return m.start(now)
	case usable(m.nic.Name):
		return nil
	case m.state == Lingering:
		return m.stepAside()
	case m.state == Guarding:
		m.wait(ReasonNoInterface, fmt.Sprintf("interface %s has no carrier", m.nic.Name))
		return nil
	case m.state == Held, m.state == Probing, m.state == Binding:
		effects := m.letGo()
		if m.wish == nil { // adopted, and the API hasn't spoken yet
			return effects
		}
		m.lost = true // others may have taken over while we were cut off
		m.wait(ReasonNoInterface, fmt.Sprintf("interface %s has no carrier", m.nic.Name))
		return effects
	}
	return nil
}

// Verdict tells the outcome of a probe. A zero owner means that nobody answers.
func (m *Machine) Verdict(probe uint64, owner MAC, now time.Time) []Effect {
	if m.state != Probing || probe != m.probe {
		return nil
	}
	if owner == (MAC{}) {
		m.state = Binding
		return []Effect{{Do: Bind, NIC: m.nic}}
	}
	if m.wish.Peers[owner] {
		m.backOff(ReasonSuperseded, fmt.Sprintf("%s of another node of the cluster answers for %s", owner, m.addr), now)
	} else {
		m.backOff(ReasonConflict, fmt.Sprintf("a machine with MAC address %s answers for %s", owner, m.addr), now)
	}
	return []Effect{{Do: CancelProbe}}
}

// BindDone tells what the kernel answered to Bind.
func (m *Machine) BindDone(err error, now time.Time) []Effect {
	if m.state != Binding {
		return nil
	}
	if err != nil {
		m.backOff(ReasonBindFailed, err.Error(), now)
		return []Effect{{Do: CancelProbe}}
	}
	m.state, m.missing, m.retries, m.lost, m.patient = Held, false, 0, false, false
	m.contested, m.contestedAt = MAC{}, time.Time{}
	m.heldTerm, m.boundAt = m.wish.Term, now
	if m.config.Probe && m.takenFrom == (MAC{}) {
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
		return m.stepAside()
	case Held, Binding:
		m.lost, m.takenFrom = true, MAC{}
		if m.wish == nil { // adopted, and the API hasn't spoken yet
			return m.letGo()
		}
		effects := []Effect{{Do: Silence}, {Do: CancelProbe}}
		m.state, m.retries = Waiting, 0
		return append(effects, m.start(now)...)
	}
	return nil
}

// Heard tells that a frame with the address as its sender came from a MAC that is not ours. claim says that it was an
// announcement rather than an answer to somebody.
func (m *Machine) Heard(from MAC, now time.Time) []Effect {
	switch m.state {
	case Lingering: // the successor
		return m.stepAside()
	case Held:
		if m.wish != nil && m.wish.Successors[from] {
			if now.Sub(m.boundAt) < m.config.Settle {
				return nil
			}
			return m.superseded(from, now)
		}
		if now.Before(m.lateUntil) {
			return nil // the watch for late answers judges these: it knows peers and proxies, and withdraws
		}
		m.contestedAt = now
		if m.wish == nil || !m.wish.Peers[from] { // a peer that is behind the times is told so, but is no conflict
			m.contested = from
		}
		if m.defendAt.IsZero() {
			m.defendAt = latest(now.Add(m.config.DefendDelay), m.lastDefence.Add(m.config.DefendInterval))
		}
	}
	return nil
}

// LateAnswer tells that somebody answered our probe after its verdict. Within the late window we withdraw.
func (m *Machine) LateAnswer(from MAC, now time.Time) []Effect {
	if m.state != Binding && (m.state != Held || m.lateUntil.IsZero() || now.After(m.lateUntil)) {
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
		return m.stepAside()
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
			return Report{true, true, ReasonTookOver, fmt.Sprintf("%s is announced on %s, as %s fell silent", m.addr, m.nic.Name, m.takenFrom)}
		}
		return Report{true, true, ReasonAnnouncing, fmt.Sprintf("%s is announced on %s", m.addr, m.nic.Name)}
	case Waiting:
		return Report{false, false, m.reason, m.message}
	case Guarding:
		return m.guardReport()
	}
	if m.lost {
		return Report{false, false, ReasonLost, fmt.Sprintf("the lease on %s ran out; asking who has it now", m.addr)}
	}
	return Report{false, false, ReasonProbing, fmt.Sprintf("asking whether anybody else has %s", m.addr)}
}

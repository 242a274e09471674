package place

import "time"

// start looks for a NIC and begins to probe, or to bind where probing is off.
func (m *Machine) start(now time.Time) []Effect {
	if m.wish.Standby && !m.lost {
		return m.guard(now)
	}
	m.retryAt = time.Time{}
	nic, err := m.choose(m.addr, m.wish.Interfaces)
	if err != nil {
		m.wait(ReasonNoInterface, err.Error())
		return nil
	}
	m.nic, m.probed = nic, m.config.Probe || m.lost
	if !m.probed {
		m.state = Binding
		return []Effect{{Do: Bind, NIC: nic}}
	}
	m.state = Probing
	m.probe++
	ignore := map[MAC]bool{}
	if !m.lost { // it was ours before, so a peer that answers has taken it over
		for peer := range m.wish.Peers {
			ignore[peer] = true
		}
	}
	return []Effect{{Do: Probe, NIC: nic, Probe: m.probe, Ignore: ignore, Patient: m.patient}}
}

// linger keeps what is bound for a successor; what isn't bound is forgotten.
func (m *Machine) linger(now time.Time) []Effect {
	switch m.state {
	case Lingering:
		return nil
	case Held:
		if !m.contestedAt.IsZero() && now.Sub(m.contestedAt) < m.config.DefendInterval {
			return m.letGo() // the successor's claim came before the news that we are to go
		}
		m.state = Lingering
		m.lingerUntil = now.Add(m.config.Linger)
		m.defendAt = time.Time{}
		return []Effect{{Do: Ask, NIC: m.nic}} // its claim may have been missed
	}
	return m.letGo()
}

// letGo ends everything that is under way. The order matters: nothing may be announced once the address is gone.
func (m *Machine) letGo() []Effect {
	var effects []Effect
	switch m.state {
	case Held, Lingering, Binding:
		effects = []Effect{{Do: Silence}, {Do: CancelProbe}, {Do: Unbind, NIC: m.nic}}
	case Probing:
		effects = []Effect{{Do: CancelProbe}}
	}
	m.state, m.missing = Idle, false
	m.retryAt, m.lateUntil, m.lingerUntil, m.defendAt, m.searchAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	m.contested, m.contestedAt = MAC{}, time.Time{}
	m.chase(MAC{}, time.Time{})
	m.searching = false
	return effects
}

func (m *Machine) wait(reason Reason, message string) {
	m.state, m.reason, m.message = Waiting, reason, message
}

func (m *Machine) backOff(reason Reason, message string, now time.Time) {
	m.wait(reason, message)
	delay := min(m.config.RetryMin<<min(m.retries, 16), m.config.RetryMax)
	m.retries++
	m.retryAt = now.Add(delay)
}

func due(deadline, now time.Time) bool { return !deadline.IsZero() && !now.Before(deadline) }

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package place

import "time"

// SetWish tells what the API wants; nil means that no placeholder on this node names the address.
func (m *Machine) SetWish(wish *Wish, now time.Time) []Effect {
	previous := m.wish
	if wish != nil {
		m.told = wish
	}
	switch {
	case wish != nil && wish.Release:
		m.wish = nil
		return m.letGo()
	case wish == nil || wish.Ending:
		m.wish = nil
		return m.linger(now)
	}
	m.wish = wish
	if m.Bound() && wish.Term > m.title.Term && !m.isPeer(m.takenFrom) {
		m.chase(MAC{}, time.Time{}) // the API no longer counts on it
	}
	follow := m.act
	if wish.Standby {
		follow = m.standBy
	}
	effects := follow(previous, now)
	return append(effects, m.rewire(previous, now)...)
}

// act follows a wish to be active.
func (m *Machine) act(previous *Wish, now time.Time) []Effect {
	switch m.state {
	case Held:
		m.title = higher(m.title, wished(m.wish))
		return nil
	case Probing, Binding:
		return nil
	case Lingering: // the VIP came back to this node before anybody else took it
		m.state, m.lingerUntil, m.title = Held, time.Time{}, higher(m.title, wished(m.wish))
		return []Effect{{Do: Announce, NIC: m.nic}}
	case Guarding:
		switch promoted := wished(m.wish).Compare(m.guardedTitle); {
		case promoted > 0, promoted == 0 && (previous == nil || previous.Standby):
			return m.promote(now)
		}
		return nil // somebody else has it by a higher title, of which the API hasn't told yet
	case Waiting:
		if previous != nil && previous.Pod == m.wish.Pod && previous.Standby == m.wish.Standby && m.reason != ReasonNoInterface {
			return nil // the back-off goes on
		}
		if previous == nil || previous.Pod != m.wish.Pod {
			m.retries = 0
		}
	case Idle:
		m.retries, m.lost, m.patient = 0, false, false
		if m.guarded != (MAC{}) && wished(m.wish).Compare(m.guardedTitle) <= 0 {
			return m.guard(now) // as an earlier process did
		}
	}
	return m.start(now)
}

// promote makes a standby active. The node that it guards has the address until it hears the claim, which is so certain that the
// wire need not be asked.
func (m *Machine) promote(now time.Time) []Effect {
	m.retries, m.lost, m.patient = 0, false, false
	if !m.heard {
		return m.start(now)
	}
	nic, err := m.choose(m.addr, m.wish.Interfaces)
	if err != nil {
		m.wait(ReasonNoInterface, err.Error())
		return nil
	}
	m.nic, m.state, m.probed = nic, Binding, false
	m.chase(m.guarded, now.Add(m.config.HandoverFor))
	return []Effect{{Do: Bind, NIC: nic}}
}

// standBy follows a wish to stand by; previous is the wish before it.
func (m *Machine) standBy(previous *Wish, now time.Time) []Effect {
	switch m.state {
	case Guarding:
		m.follow(now)
		return nil
	case Lingering: // a successor's claim ends it, or that another node is active in a later term: its claim may not get here
		if m.wish.Term <= m.title.Term {
			return nil
		}
	case Held:
		if m.title == (Title{}) { // left by a process that we know nothing of: if it was demoted, the claim of the active tells
			m.title = wished(m.wish)
			m.chase(m.wish.Active, now.Add(m.config.ChaseFor))
		}
		if m.wish.Term <= m.title.Term {
			return nil // it took over, and the API doesn't know yet
		}
	case Binding:
		if m.wish.Term <= m.title.Term {
			return nil // it takes over
		}
	case Probing:
		if m.lost && m.wish.Term <= higher(m.title, m.guardedTitle).Term {
			return nil
		}
	case Waiting:
		if previous != nil && previous.Standby && m.reason != ReasonNoInterface {
			return nil // the back-off goes on
		}
	}
	effects := m.letGo()
	m.lost = false
	return append(effects, m.guard(now)...)
}

// wished is the title that goes with a wish.
func wished(wish *Wish) Title { return Title{Term: wish.Term, Place: wish.Place} }

func higher(a, b Title) Title {
	if a.Compare(b) > 0 {
		return a
	}
	return b
}

func (m *Machine) isPeer(mac MAC) bool {
	if m.told == nil {
		return false
	}
	_, ok := m.told.Peers[mac]
	return ok
}

package place

import (
	"fmt"
	"slices"
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
	case m.state == Guarding && m.guarded != MAC{}:
		return Watched{MAC: m.guarded, Rank: m.rank()}, true
	case m.Bound() && m.takenFrom != MAC{}:
		return Watched{MAC: m.takenFrom, Chase: true}, true
	}
	return Watched{}, false
}

// OnGuard says whether the node that has the address was heard and is watched, so that its silence would mean something.
func (m *Machine) OnGuard() bool { return m.state == Guarding && m.heard }

// rank counts who takes the address over before us from the node that is guarded: standbys in order of succession, and after
// them those who were active before.
func (m *Machine) rank() int {
	var before []uint8
	for mac, place := range m.wish.Peers {
		standby := place > 1 && (!m.wish.Standby || place < m.wish.Place)
		if standby && mac != m.guarded && place != m.wish.Peers[m.guarded] && !slices.Contains(before, place) {
			before = append(before, place)
		}
	}
	return len(before)
}

// guard begins to watch who has the address: the active, unless somebody is known who has taken it over since.
func (m *Machine) guard(now time.Time) []Effect {
	m.retryAt, m.heard, m.searching, m.title = time.Time{}, false, false, Title{}
	nic, err := m.choose(m.addr, m.wish.Interfaces)
	if err != nil {
		m.wait(ReasonNoInterface, err.Error())
		return nil
	}
	m.state, m.nic, m.lost = Guarding, nic, false
	if m.wish.Standby {
		m.follow(now)
	}
	m.searchLater(now)
	return nil
}

// follow has the active guarded that the API tells of, unless somebody has claimed the address since.
func (m *Machine) follow(now time.Time) {
	title := Title{Term: m.wish.Term, Place: 1}
	if m.guarded == m.wish.Active {
		m.guardedTitle = higher(m.guardedTitle, title)
		return
	}
	// Of a node with several NICs the one that was heard is watched.
	sameNode := m.wish.Peers[m.guarded] == 1 && m.isPeer(m.guarded)
	switch order := title.Compare(m.guardedTitle); {
	case sameNode:
		m.guardedTitle = higher(m.guardedTitle, title)
	case order > 0, order == 0 && !m.had, m.guarded == MAC{}:
		m.watch(m.wish.Active, title, false, now)
	}
}

// watch guards another node from now on. had says that it has shown on the wire that it has the address.
func (m *Machine) watch(mac MAC, title Title, had bool, now time.Time) {
	m.guarded, m.guardedTitle, m.heard, m.had = mac, title, false, had
	m.retries = 0
	if m.other == mac {
		m.other = MAC{}
	}
	m.searchLater(now)
}

// searchLater asks the wire after a while who has the address, should a node that had it not be heard until then: it may have died
// before it could be heard at all. One that never had it, as far as was seen, may be one that can't be heard from here.
func (m *Machine) searchLater(now time.Time) {
	m.searchAt = time.Time{}
	if m.state == Guarding && m.had && !m.heard {
		wait := m.config.SearchAfter * time.Duration(1+m.rank())
		m.searchAt = now.Add(min(wait<<min(m.retries, 16), m.config.RetryMax))
	}
}

// search asks the wire who has the address. Should nobody have it, it is taken over.
func (m *Machine) search(now time.Time) []Effect {
	m.searchAt = time.Time{}
	nic, err := m.choose(m.addr, m.wish.Interfaces)
	if err != nil || nic.Deaf {
		m.searchLater(now)
		return nil
	}
	m.retries++
	m.lost, m.searching = true, true
	return m.start(now)
}

// Answered tells that the node that is guarded has answered for the address.
func (m *Machine) Answered(from MAC) {
	if m.state == Guarding && from == m.guarded {
		m.heard, m.had, m.searchAt, m.retries = true, true, time.Time{}, 0
	}
}

// Silent tells that the node that is guarded no longer answers, while the wire works: the address is taken over. There is no
// probe before it, as asking for the address is what found the silence. Where the node is alive all the same, it may have
// withdrawn the address from a foreign machine that has it: then the wire is asked first.
func (m *Machine) Silent(from MAC, alive bool, now time.Time) []Effect {
	if m.state != Guarding || from != m.guarded && !m.sameNode(from, m.guarded) {
		return nil
	}
	if m.other != (MAC{}) && now.Sub(m.otherAt) < m.config.OtherFor {
		m.watch(m.other, m.otherTitle, true, now)
		m.other = MAC{}
		return nil
	}
	if alive && m.config.Probe {
		return m.search(now)
	}
	m.takeOver(now)
	m.silenced = !alive
	return []Effect{{Do: Bind, NIC: m.nic}}
}

// sameNode says whether two peers' MAC addresses are of one node: a pair of addresses may be on different NICs.
func (m *Machine) sameNode(a, b MAC) bool {
	return m.isPeer(a) && m.isPeer(b) && m.told.Peers[a] == m.told.Peers[b] && m.told.Peers[a] > 0
}

// takeOver turns to binding what another node had, by a title that is above that node's.
func (m *Machine) takeOver(now time.Time) {
	m.state, m.probed, m.searching, m.lost = Binding, false, false, false
	m.title = higher(wished(m.wish), m.guardedTitle.After())
	m.chase(m.guarded, now.Add(m.config.ChaseFor))
	m.unsure = true
}

// Silenced is the node that the address was taken over from as that was dead to the wire, until it is heard again; zero: none. One
// that lived, or that a probe merely didn't find, is none: it may have let go long ago, and serve what it did.
func (m *Machine) Silenced() MAC {
	if !m.silenced {
		return MAC{}
	}
	return m.takenFrom
}

// chase asks a node that had the address until it has let go.
func (m *Machine) chase(mac MAC, until time.Time) {
	m.takenFrom, m.chaseUntil, m.unsure, m.silenced = mac, until, false, false
	if mac == (MAC{}) {
		m.chaseUntil = time.Time{}
	}
}

// Returned tells that the node which the address was taken over from answers for it again: it hasn't heard our claim.
func (m *Machine) Returned(from MAC, now time.Time) []Effect {
	if !m.Bound() || from != m.takenFrom {
		return nil
	}
	m.chaseUntil, m.silenced = now.Add(m.config.ReturnedFor), false
	return m.assert()
}

func (m *Machine) guardReport() Report {
	switch {
	case !m.wish.Standby:
		return Report{Reason: ReasonSuperseded, Message: m.supersededMessage()}
	case m.guarded == MAC{}:
		return Report{Reason: ReasonNothingToGuard, Message: fmt.Sprintf("no other node is known to announce %s yet", m.addr)}
	case !m.heard:
		return Report{Reason: ReasonNotHeard, Message: fmt.Sprintf("%s has not answered for %s here yet, so its silence would mean nothing", m.guarded, m.addr)}
	}
	return Report{Ready: true, Reason: ReasonGuarding, Message: fmt.Sprintf("%s answers for %s and is watched on %s", m.guarded, m.addr, m.nic.Name)}
}

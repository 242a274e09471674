package place

import "time"

// Memory is what a place must know again after a restart of its process.
type Memory struct {
	// Title by which the address is bound.
	Title Title
	// Peer is the node that the address was taken from, while it is bound, and the one that is guarded otherwise; zero if none.
	// PeerTitle is that of the latter, and Had says that it was seen to have the address.
	Peer      MAC
	PeerTitle Title
	Had       bool
	// Silenced: the address was taken from Peer as that had fallen silent.
	Silenced bool
}

// Memory returns what is to be kept for the next process.
func (m *Machine) Memory() Memory {
	switch {
	case m.Bound():
		return Memory{Title: m.title, Peer: m.takenFrom, Silenced: m.silenced}
	case m.state == Guarding:
		return Memory{Peer: m.guarded, PeerTitle: m.guardedTitle, Had: m.had}
	}
	return Memory{}
}

// Adopt takes over an address that an earlier process of this node left bound. It stays until SetWish says otherwise, which must
// not happen before the API's list is complete, except with what that process was told itself.
func (m *Machine) Adopt(nic NIC, memory Memory, now time.Time) {
	m.state, m.nic, m.title = Held, nic, memory.Title
	m.chase(memory.Peer, now.Add(m.config.ChaseFor))
	m.unsure, m.silenced = memory.Peer != MAC{}, memory.Silenced
}

// Remember lets the first wish go on with what an earlier process of this node knew of an address that it guarded.
func (m *Machine) Remember(memory Memory) {
	m.guarded, m.guardedTitle, m.had = memory.Peer, memory.PeerTitle, memory.Had
}

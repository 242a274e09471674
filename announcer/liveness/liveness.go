// Package liveness decides when a node that others stand by for has fallen silent. It is a core of values: it is told what was
// asked and heard on the wire and what time it is, and says what to ask next and what is certain by now. It has no goroutine,
// no socket and no clock of its own, and is not safe for concurrent use.
//
// The question is always "does this MAC address answer for this address?", asked in a frame to that MAC: an echo request, which
// its kernel answers if and only if the address is bound there, and on silence also a unicast ARP request or neighbour
// solicitation. What follows from it:
//
//   - Each address is judged by its own questions. What a node answers for one says nothing of another; but when one answer
//     is overdue and nothing at all came from that node since, all its addresses are asked for at once and count as silent
//     since then.
//   - Silence counts only while this process is on time. A late turn voids its round: the time since the turn before doesn't
//     count, and fresh questions must go unanswered.
//   - Silence counts only while our own interface is known to hear: see earshot.
//   - Only who was heard before can fall silent.
package liveness

import (
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// MAC is an Ethernet address.
type MAC = wire.MAC

// Target is one address that one other node answers for, or did.
type Target struct {
	Addr netip.Addr
	// NIC is the interface behind which that node is.
	NIC string
	// MAC of its NIC.
	MAC MAC
	// Rank among those who stand by for the address: each rank waits longer, so that one takes over and the others hear it.
	Rank int
	// Chase: the address was taken over from this MAC. It is asked on, and each of its answers is told.
	Chase bool
}

// Neighbour is a node that is watched at a low rate by one of its own addresses, whatever VIPs it has.
type Neighbour struct {
	// Node is its name.
	Node string
	Addr netip.Addr
	NIC  string
	MAC  MAC
}

// Kind of a question or an answer.
type Kind int

// Kinds.
const (
	// Echo is ICMP or ICMPv6 echo.
	Echo Kind = iota + 1
	// Solicit is a unicast ARP request or neighbour solicitation.
	Solicit
)

// String names the kind for metrics.
func (k Kind) String() string { return [...]string{"", "echo", "solicitation"}[k] }

// Probe is a question to send.
type Probe struct {
	Kind Kind
	NIC  string
	Addr netip.Addr
	MAC  MAC
}

// Sighting is a frame of another machine.
type Sighting struct {
	// From is its Ethernet source.
	From MAC
	// Addr is an address that From has said is its own, where known.
	Addr netip.Addr
	// Own says that Addr is the machine's own rather than a VIP that may move: another announcer asks from its own address.
	Own bool
	// At is when the kernel received it.
	At time.Time
}

// EventKind says what became certain.
type EventKind int

// Kinds of events.
const (
	// Heard: the target has answered for the first time, or for the first time after it was found silent.
	Heard EventKind = iota + 1
	// Silent: it no longer answers, and our own NIC works.
	Silent
	// Returned: a chased target answers.
	Returned
	// HeardAgain: a frame was heard behind the NIC after a second of silence, where before frames came all the time. Others may
	// have taken over meanwhile.
	HeardAgain
)

// String names the event for logs.
func (k EventKind) String() string {
	return [...]string{"", "Heard", "Silent", "Returned", "HeardAgain"}[k]
}

// Event is what became certain about a target.
type Event struct {
	Kind EventKind
	// NIC behind which it was found out.
	NIC string
	// Alive, for Silent: the node itself was heard since it no longer answers for the address.
	Alive bool
	// Addr and MAC of the target; none for HeardAgain.
	Addr netip.Addr
	MAC  MAC
	// At is when it was certain. Who acts on a Silent much later must not: it may no longer be true.
	At time.Time
	// Since is when the first unanswered probe was sent, and Probes how many there were, for Silent.
	Since  time.Time
	Probes int
}

// Stats count since the start.
type Stats struct {
	// Sent probes, and those that were never answered, by kind.
	Sent, Unanswered map[Kind]uint64
	// Voided rounds: we were late ourselves, so that nothing that was missed counts.
	Voided uint64
	// Unproven verdicts: withheld, as nobody else was heard on the NIC either.
	Unproven uint64
	// Addresses that are guarded or chased, Peers that they are behind, and neighbours that are watched and silent: gauges.
	Addresses, Peers, Neighbours, SilentNeighbours int
}

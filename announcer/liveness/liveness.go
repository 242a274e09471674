// Package liveness decides when a node that others stand by for has fallen silent. It is a core of values: it is told what was
// asked and heard on the wire and what time it is, and says what to ask next and what is certain by now. It has no goroutine,
// no socket and no clock of its own, and is not safe for concurrent use.
//
// The question is always "does this MAC address answer for this VIP?", asked in a frame to that MAC: an echo request to the
// VIP, which its kernel answers if and only if the address is bound there, and on silence also a unicast ARP request or
// neighbour solicitation. Broadcast answers prove nothing about a port that drops frames to the node.
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

// Kind of a question or an answer.
type Kind int

// Kinds.
const (
	// Echo is ICMP or ICMPv6 echo.
	Echo Kind = iota + 1
	// Neighbour is a unicast ARP request or neighbour solicitation.
	Neighbour
)

// Probe is a question to send.
type Probe struct {
	Kind Kind
	NIC  string
	Addr netip.Addr
	MAC  MAC
}

// EventKind says what became certain.
type EventKind int

// Kinds of events.
const (
	// Heard: the target has answered for the first time.
	Heard EventKind = iota + 1
	// Silent: it no longer answers, and our own NIC works. It is said once.
	Silent
	// Returned: a chased target answers.
	Returned
	// HeardAgain: a frame was heard behind the NIC after a second of silence. Others may have taken over meanwhile.
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
	// Addr and MAC of the target; none for HeardAgain.
	Addr netip.Addr
	MAC  MAC
	// Since is when the first unanswered probe was sent, and Probes how many there were, for Silent.
	Since  time.Time
	Probes int
}

// Stats count since the start.
type Stats struct {
	// Sent probes, and Unanswered ones: those after which an alarm was raised or kept.
	Sent, Unanswered uint64
	// Voided rounds: we were late ourselves, so that nothing that was missed counts.
	Voided uint64
	// Unproven verdicts: withheld, as nobody else was heard on the NIC either.
	Unproven uint64
}

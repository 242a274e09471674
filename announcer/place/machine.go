// Package place decides what an announcer does about one address: when to probe for other owners, bind, announce, hold on,
// defend and let go, and on a standby when to take over. It is a state machine of values: inputs are what the API wants, what was heard on the wire and what the
// kernel said; outputs are effects for somebody else to carry out. It has no goroutine and no clock of its own.
package place

import (
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/api/placeholder"
)

// MAC is an Ethernet address.
type MAC = wire.MAC

// Title is the right by which a node announces an address.
type Title = wire.Title

// Config holds the times that decisions depend on. The zero value is not useful; start from DefaultConfig.
type Config struct {
	// Probe asks the wire for other owners before an address is bound. Without it an address is bound at once.
	Probe bool
	// Linger is how long an address is held for a successor after its placeholder has gone.
	Linger time.Duration
	// LateWindow is how long after the first announcement an answer to our probes still makes us withdraw.
	LateWindow time.Duration
	// DefendDelay is how long a foreign claim may be contradicted by the API before it is answered: in a move, the news that
	// our placeholder has gone may arrive after the successor's claim.
	DefendDelay time.Duration
	// DefendInterval is the least time between two defences (RFC 5227 §1.1, DEFEND_INTERVAL: 10 s).
	DefendInterval time.Duration
	// RetryMin and RetryMax bound the back-off after a conflict or a failed bind.
	RetryMin, RetryMax time.Duration
	// Settle is how long after binding a frame of a peer that doesn't show its title is taken for a straggler of the move that
	// made us bind: the one before us answers until it has heard our claim.
	Settle time.Duration
	// SearchAfter is how long a node that did have the address may be unheard before the wire is asked who has it. Each standby
	// before this one adds as much.
	SearchAfter time.Duration
	// OtherFor is how long it counts, when the node that is guarded falls silent, that another one had the address as well.
	OtherFor time.Duration
	// HandoverFor is how long a node that the address was taken from while it lived is asked whether it has let go, and
	// ReturnedFor one that has come back, since its last answer. ChaseFor is how long one that hasn't is waited for.
	HandoverFor, ReturnedFor, ChaseFor time.Duration
	// ContestedFor is how long a conflict is reported after the last foreign claim.
	ContestedFor time.Duration
}

// DefaultConfig returns the times that the announcer uses.
func DefaultConfig() Config {
	return Config{
		Probe:          true,
		Linger:         10 * time.Second,
		LateWindow:     5 * time.Second,
		DefendDelay:    250 * time.Millisecond,
		DefendInterval: 10 * time.Second,
		Settle:         500 * time.Millisecond,
		SearchAfter:    2 * time.Second,
		OtherFor:       3 * time.Second,
		HandoverFor:    10 * time.Second,
		ReturnedFor:    30 * time.Second,
		ChaseFor:       15 * time.Minute,
		RetryMin:       time.Second,
		RetryMax:       30 * time.Second,
		ContestedFor:   time.Minute,
	}
}

// Wish is what the API wants of this node for an address.
type Wish struct {
	// Pod identifies the placeholder; a new one ends a back-off.
	Pod string
	// Interfaces that may announce, by name; empty: the NIC whose subnet holds the address.
	Interfaces []string
	// Peers are the MAC addresses of the VIP's other places and its previous owners, each with its place in the succession: see
	// wire.Title.
	Peers map[MAC]uint8
	// Term and Place are this placeholder's title. Term is the number of the last change of roles that it knows of.
	Term  int64
	Place uint8
	// Standby: guard the address, and take it over when its active falls silent.
	Standby bool
	// Active is the MAC address of the node to guard against, for a standby; zero while none is known.
	Active MAC
	// Previous is the MAC address of the latest previous owner, zero if there is none: it may not know yet that it is that.
	Previous MAC
	// Ending: the placeholder is going, a successor will claim. Release: the VIP ends.
	Ending, Release bool
}

// NIC is where an address is bound.
type NIC struct {
	Name string
	// MAC settles which of two peers with the same title keeps an address: the higher. Zero while it isn't known.
	MAC MAC
	// RequireOwn: the address waits behind the NIC's own address of its family.
	RequireOwn bool
	// Deaf: no other machine was heard behind it of late, so that nobody's silence means anything.
	Deaf bool
}

// Chooser picks the NIC for an address, or says why there is none.
type Chooser func(addr netip.Addr, interfaces []string) (NIC, error)

// State of a place.
type State int

// States. Bound addresses are Held or Lingering.
const (
	// Idle: nobody wants the address and it is not bound.
	Idle State = iota
	// Waiting for a NIC or for the end of a back-off.
	Waiting
	// Probing the wire for other owners.
	Probing
	// Binding: the kernel was asked.
	Binding
	// Held: bound and announced.
	Held
	// Lingering: bound, but its placeholder has gone; a successor's claim or time ends it.
	Lingering
	// Guarding: not bound; another node has the address, and is watched.
	Guarding
)

// String names the state for logs.
func (s State) String() string {
	return [...]string{"Idle", "Waiting", "Probing", "Binding", "Held", "Lingering", "Guarding"}[s]
}

// Reason says why a place is not announced, in the words of the placeholder contract.
type Reason string

// Reasons.
const (
	ReasonAnnouncing    Reason = placeholder.ReasonAnnouncing
	ReasonProbing       Reason = placeholder.ReasonProbing
	ReasonConflict      Reason = placeholder.ReasonConflict
	ReasonNoInterface   Reason = placeholder.ReasonNoInterface
	ReasonNoNodeAddress Reason = placeholder.ReasonNoNodeAddress
	ReasonBindFailed    Reason = placeholder.ReasonBindFailed
	ReasonSuperseded    Reason = placeholder.ReasonSuperseded
	ReasonLost          Reason = placeholder.ReasonLost

	ReasonGuarding       Reason = placeholder.ReasonGuarding
	ReasonNotHeard       Reason = placeholder.ReasonNotHeard
	ReasonNothingToGuard Reason = placeholder.ReasonNothingToGuard
	ReasonTookOver       Reason = placeholder.ReasonTookOver
)

// Effect is something to do. Effects are carried out in order.
type Effect struct {
	Do  Action
	NIC NIC
	// Probe numbers a Probe; its verdict carries the number back.
	Probe uint64
	// Ignore lists MAC addresses whose answers to a Probe don't count.
	Ignore map[MAC]bool
	// Patient: the verdict of a Probe waits for late answers too.
	Patient bool
}

// Action is what an Effect does.
type Action int

// Actions.
const (
	// Probe the wire; answer with Verdict.
	Probe Action = iota + 1
	// CancelProbe forgets a running probe and the watch for late answers.
	CancelProbe
	// Bind the address; answer with Bound.
	Bind
	// Unbind the address now.
	Unbind
	// Announce the address, now and repeatedly.
	Announce
	// Defend announces once, against a machine that isn't one of us.
	Defend
	// Assert announces anew: another node of ours believes that it has the address, and learns from the title that it hasn't.
	Assert
	// Ask the wire who else has the address; answer with Heard.
	Ask
	// Silence cancels every announcement that is still to come.
	Silence
)

// String names the action for logs and tests.
func (a Action) String() string {
	return [...]string{"", "Probe", "CancelProbe", "Bind", "Unbind", "Announce", "Defend", "Assert", "Ask", "Silence"}[a]
}

// Machine is the state of one address on this node. It is not safe for concurrent use.
type Machine struct {
	addr   netip.Addr
	config Config
	choose Chooser

	state State
	wish  *Wish
	nic   NIC
	probe uint64
	// lost: we held this address and the lease ran out. From then on a peer's answer means that it took over.
	lost bool
	// patient: an owner answered late before, so that a quick verdict would be wrong again.
	patient bool
	// told is the last wish, also after it has ended: who our peers are.
	told *Wish
	// title by which the address is bound. A placeholder that is told to stand by in a later term was demoted; in the same one
	// it took over, and stays until the API has caught up.
	title   Title
	boundAt time.Time
	probed  bool // before it was bound
	// guarded is who has the address, while it isn't us, and guardedTitle by what title. It is the active that the API told of, or
	// who has claimed the address since.
	guarded      MAC
	guardedTitle Title
	// heard: it has answered at least once, so that its silence means something. had: it did have the address at some time.
	heard, had bool
	searchAt   time.Time
	searching  bool
	// other has it as well, by a lower title, as after a split.
	other      MAC
	otherTitle Title
	otherAt    time.Time
	// takenFrom is whom the address was taken over from, which may not know yet, and is asked until chaseUntil.
	takenFrom  MAC
	chaseUntil time.Time
	// unsure: it couldn't be heard when the address was bound, so that it, or one after it, may have it where we can't hear.
	unsure bool
	// silenced: the address was taken over from takenFrom because that was dead to the wire.
	silenced bool
	// doubted is a peer that spoke for the address without showing a title, though it may have the higher one.
	doubted   MAC
	doubtedAt time.Time
	// waiting says why, while nothing is bound.
	reason  Reason
	message string
	// missing: bound as far as we are concerned, but the kernel waits for the NIC's own address.
	missing bool

	retries     int
	retryAt     time.Time
	lateUntil   time.Time
	lingerUntil time.Time
	defendAt    time.Time
	lastDefence time.Time
	contested   MAC
	contestedAt time.Time
}

// New returns a machine for an address that nobody wants yet.
func New(addr netip.Addr, config Config, choose Chooser) *Machine {
	return &Machine{addr: addr, config: config, choose: choose}
}

// State returns where the machine is.
func (m *Machine) State() State { return m.state }

// NIC returns where the address is or would be bound.
func (m *Machine) NIC() NIC { return m.nic }

// SetMAC tells the MAC address of the NIC. That of a bond or a bridge may change while addresses are on it: they are announced anew.
// Of what an earlier process left it wasn't known.
func (m *Machine) SetMAC(mac MAC) []Effect {
	changed := m.nic.MAC != MAC{} && m.nic.MAC != mac
	m.nic.MAC = mac
	if !changed || !m.Bound() || m.missing {
		return nil
	}
	return []Effect{{Do: Announce, NIC: m.nic}}
}

// Title returns by what title the address is announced here.
func (m *Machine) Title() Title { return m.title }

// Bound says whether the address is on the NIC as far as the machine knows.
func (m *Machine) Bound() bool { return m.state == Held || m.state == Lingering }

// Done says that the machine can be forgotten.
func (m *Machine) Done() bool { return m.state == Idle && m.wish == nil }

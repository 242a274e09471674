// Package agent makes a node's addresses what its placeholders ask for. One loop owns all decisions (package place makes
// them); kernel, wire and API are edges that send it what happened.
package agent

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/protect"
	"evenkeel.io/evenkeel/announcer/relay"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/announcer/wires"
	"evenkeel.io/evenkeel/api/placeholder"
)

// Binder puts addresses on NICs; address.Binder is one.
type Binder interface {
	Bind(ctx context.Context, binding address.Binding) error
	Unbind(ctx context.Context, addrs ...netip.Addr) error
	Leftovers(ctx context.Context) ([]address.Leftover, error)
	RemoveLeftover(ctx context.Context, leftover address.Leftover) error
}

// Wire speaks and listens on the segments behind the NICs; wires.Set is one. Nothing of it blocks.
type Wire interface {
	// SetNICs tells which NICs there are.
	SetNICs(ctx context.Context, nics []nic.NIC)
	// Deaf says whether no other machine was heard on a NIC for so long.
	Deaf(nicName string, d time.Duration) bool
	// Follow has the agent told what others say of these addresses: the complete list.
	Follow(addrs []netip.Addr)
	// Probe asks who has addr; verdict is called once, with the zero MAC when nobody has it, unless Cancel comes first. ignored is
	// one of those to ignore that answered. late is called for answers that come after the verdict, until Cancel. A patient probe
	// waits for late answers first.
	Probe(ctx context.Context, nicName string, addr netip.Addr, patient bool, ignore map[place.MAC]bool,
		verdict func(owner, ignored place.MAC), late func(place.MAC))
	Cancel(addr netip.Addr)
	// Ask asks once who else has each of some addresses; with hold none of them is announced until there was time to answer.
	Ask(ctx context.Context, nicName string, questions []wires.Question, hold bool)
	Announce(nicName string, addr netip.Addr, title place.Title)
	// Retitle changes by what title addr is announced.
	Retitle(addr netip.Addr, title place.Title)
	// Assert announces addr anew, Defend once.
	Assert(addr netip.Addr)
	Defend(addr netip.Addr)
	// Silence returns when no frame of addr can be sent any more.
	Silence(addr netip.Addr)
}

// Watch asks other nodes for addresses and says when they fall silent; watch.Watch is one. Nothing of it blocks.
type Watch interface {
	// SetNICs tells which NICs there are.
	SetNICs(ctx context.Context, nics []nic.NIC)
	// SetTargets tells whom to watch: the complete list.
	SetTargets(targets []liveness.Target)
}

// Guard closes what isn't the Services' own on the VIPs; guard.Guard is one.
type Guard interface {
	// Set asks for the complete set; done is called when it is in force, or can't be.
	Set(entries []protect.Entry, done func())
}

// Store keeps what must survive a restart; state.File is one.
type Store interface {
	Save(state.State) error
}

// PodReporter writes conditions of placeholders; report.Pods is one.
type PodReporter interface {
	Observe(pod *corev1.Pod)
	Set(uid types.UID, want report.Condition, delay time.Duration)
	Forget(uid types.UID)
}

// Options of an Agent. All fields but Place are required.
type Options struct {
	// Node is this node's name.
	Node    string
	Binder  Binder
	Wire    Wire
	Watch   Watch
	Guard   Guard
	Handoff Handoff
	Traffic Traffic
	Store   Store
	Pods    PodReporter
	Metrics *Metrics
	Clock   clock.Clock
	// Place holds the times of decisions; see place.DefaultConfig.
	Place place.Config
	// HostServed: Services reach local listeners without DNAT (kube-proxy in IPVS mode).
	HostServed func() bool
}

// Agent owns the places of one node. Its exported methods are safe for concurrent use.
type Agent struct {
	opts  Options
	inbox *inbox
	beat  atomic.Int64 // Unix nanoseconds of the loop's last turn

	// All below is the loop's.
	desired  desired
	synced   bool
	nics     []nic.NIC
	places   map[netip.Addr]*placeState
	guarded  map[netip.Addr]protect.Entry // what the guard was last asked for
	ready    map[netip.Addr]protect.Entry // what it has in force
	moved    bool                         // a place has changed since the handoff was last looked after
	handed   relay.Wish                   // whose connections were last asked to be handed on
	handing  uint64                       // counts these, and handedOn is the last one in force
	handedOn uint64
	measured []traffic.VIP     // which are bound, as the traffic was last told
	watched  []liveness.Target // what the watch was last asked for
	followed []netip.Addr      // what the wire was last asked for
	asked    netip.Addr        // the last of those that the wire was asked for in turn
	askDue   time.Time
	// healing: one of those turned out to be with another node, and the others are to be asked for at once, from askAllDue on.
	healing   bool
	askAllDue time.Time
	dirty     bool // what is held or guarded changed since the state was saved
}

// placeState is a place's machine with what the edges need to know of it.
type placeState struct {
	*place.Machine
	// bindLater: the machine asked to bind, the guard isn't in force yet, or not all that is to be handed on as of handing is.
	bindLater bool
	handing   uint64
	// bindBy is when what is to be handed on is no longer waited for; zero: it is, for as long as it takes.
	bindBy time.Time
	// owner is the placeholder that the address is held for, also when it is gone.
	owner placeholder.Placeholder
	since time.Time
	// title is what the wire was told last, and saved what the state file has.
	title place.Title
	saved place.Memory
}

// New returns an agent; Run makes it work.
func New(opts Options) *Agent {
	return &Agent{
		opts: opts, inbox: newInbox(),
		desired: desired{pods: map[types.UID]view{}},
		places:  map[netip.Addr]*placeState{},
		guarded: map[netip.Addr]protect.Entry{},
		ready:   map[netip.Addr]protect.Entry{},
	}
}

// Run decides until ctx ends. It leaves every address as it is: who stops the process says what becomes of them.
func (a *Agent) Run(ctx context.Context) error {
	// The loop must turn for health checks, even when nothing happens.
	const pulse = time.Second
	// Who comes so much later was held up, and others may have taken over meanwhile.
	const heldUp = 700 * time.Millisecond
	timer := a.opts.Clock.NewTimer(pulse)
	defer timer.Stop()
	for {
		now := a.opts.Clock.Now()
		a.beat.Store(now.UnixNano())
		next := now.Add(pulse)
		for _, addr := range a.dueAt(now) {
			a.carryOut(ctx, addr, a.places[addr].Tick(now))
		}
		if due := a.bindReady(ctx); !due.IsZero() && due.Before(next) {
			next = due
		}
		for _, p := range a.places { // after all that sets deadlines
			if deadline := p.Deadline(); !deadline.IsZero() && deadline.Before(next) {
				next = deadline
			}
		}
		if due := a.askUnsure(ctx, now); due.Before(next) {
			next = due
		}
		a.follow()
		a.setTargets()
		a.setTraffic()
		a.setHandoff(ctx)
		a.save(ctx)
		timer.Reset(max(next.Sub(a.opts.Clock.Now()), 0))
		select {
		case <-ctx.Done():
			return nil
		case <-a.inbox.ready:
		case <-timer.C():
		}
		if a.opts.Clock.Now().Sub(next) > heldUp {
			for _, n := range a.nics {
				a.askAll(ctx, n.Name)
			}
		}
		for _, item := range a.inbox.take() {
			item()
		}
	}
}

// Alive says how long ago the loop turned last.
func (a *Agent) Alive() time.Duration {
	return a.opts.Clock.Since(time.Unix(0, a.beat.Load()))
}

func (a *Agent) dueAt(now time.Time) []netip.Addr {
	var due []netip.Addr
	for addr, p := range a.places {
		if deadline := p.Deadline(); !deadline.IsZero() && !now.Before(deadline) {
			due = append(due, addr)
		}
	}
	return due
}

// place returns the state of an address, making it when it is new.
func (a *Agent) place(addr netip.Addr) *placeState {
	p, ok := a.places[addr]
	if !ok {
		p = &placeState{Machine: place.New(addr, a.opts.Place, a.choose)}
		a.places[addr] = p
	}
	return p
}

// choose picks the NIC for an address.
func (a *Agent) choose(addr netip.Addr, interfaces []string) (place.NIC, error) {
	found, reason := nic.ForVIP(a.nics, addr, interfaces)
	if reason != "" {
		return place.NIC{}, noInterface(addr, interfaces, reason)
	}
	// What the pool's interfaces put on a NIC without an address of its own has nothing to wait behind.
	own := len(interfaces) == 0 || found.HasFamily(addr)
	return place.NIC{Name: found.Name, MAC: macOf(found), RequireOwn: own, Deaf: a.opts.Wire.Deaf(found.Name, deafAfter)}, nil
}

// deafAfter is how long nobody may be heard before silence means nothing: nodes ask for one another's addresses, and for those of
// gateways and clients, about every 30 s each.
const deafAfter = 5 * time.Second

func macOf(n nic.NIC) place.MAC {
	mac, _ := wire.MACFrom(n.MAC)
	return mac
}

func (a *Agent) nicNamed(name string) (nic.NIC, bool) {
	for _, n := range a.nics {
		if n.Name == name {
			return n, true
		}
	}
	return nic.NIC{}, false
}

func (a *Agent) logger(ctx context.Context, addr netip.Addr) klog.Logger {
	logger := klog.FromContext(ctx).WithValues("vip", addr)
	if p, ok := a.places[addr]; ok && p.owner.Pod.Name != "" {
		logger = logger.WithValues("pod", p.owner.Pod)
	}
	return logger
}

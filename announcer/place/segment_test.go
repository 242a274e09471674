package place

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// segment is a simulated cluster: nodes with one NIC each on one segment, a client on it, and an API server with a controller on the
// client's side. Everything happens in ticks.
type segment struct {
	now        time.Time
	nodes      []*simNode
	controller simController
	frames     []simFrame // on their way
	logf       func(format string, args ...any)

	// together is since when two nodes that hear each other both have the address; longest is the longest that it ever was.
	together map[[2]int]time.Duration
	longest  time.Duration
	// forgotten: see measure.
	forgotten bool
	wasSplit  bool
}

const (
	simTick     = 5 * time.Millisecond
	simLifetime = 6 * time.Second
	simMargin   = time.Second
	simSilence  = 600 * time.Millisecond
	simRank     = 400 * time.Millisecond
	simWait     = 60 * time.Millisecond
)

type simFrame struct {
	from int
	to   int // -1: everybody
	said Said
}

// simNode is a machine with its kernel, and the announcer on it.
type simNode struct {
	id  int
	mac MAC
	sim *segment

	on   bool // has power
	cut  bool // its port is dead, with carrier
	side int  // of a split segment
	// bound is the kernel's address, renewed at a time.
	bound   bool
	renewed time.Time
	// hung: the whole machine is paused. running: there is an announcer; stopped: it is, by a signal.
	hung, running, stopped bool
	backlog                []Said

	m       *Machine
	wish    *Wish  // what the announcer was told last
	onDisk  Memory // state.json
	wishOn  *Wish
	boundOn bool
	knows   int // version of the API's news that it has

	probe              *Effect
	probeDue           time.Time
	probeSaw           MAC
	announcing         bool
	announceDue, first time.Time
	lastAnnounced      time.Time
	held               time.Time
	lastHeard          time.Time
	watch              Watched
	watchHeard         bool
	lastAnswer         time.Time
	chaseDue           time.Time
	unsureDue          time.Time
	uneasy             bool // it knows that another node may have the address where it can't be heard
	silentSaid         bool
}

func simMAC(id int) MAC { return MAC{2, 0, 0, 0, 1, byte(id)} }

func newSegment(nodes int, logf func(string, ...any)) *segment {
	s := &segment{now: epoch, logf: logf, together: map[[2]int]time.Duration{}}
	for id := range nodes {
		n := &simNode{id: id, mac: simMAC(id), sim: s, on: true, lastHeard: epoch}
		s.nodes = append(s.nodes, n)
		n.start()
	}
	s.controller = simController{sim: s, up: true, reports: map[int]simReport{}, seen: map[int]time.Time{}}
	return s
}

// linked says whether frames pass between two nodes.
func (s *segment) linked(a, b *simNode) bool {
	return a != b && a.onWire() && b.onWire() && a.side == b.side
}

func (n *simNode) onWire() bool { return n.on && !n.cut && !n.hung }

// reachesClient: the client, the API server and the controller are on side 0.
func (n *simNode) reachesClient() bool { return n.onWire() && n.side == 0 }

func (n *simNode) working() bool { return n.on && n.running && !n.stopped && !n.hung }

// hearsAnybody: the client is there beside other nodes.
func (n *simNode) hearsAnybody() bool {
	return n.reachesClient() || slices.ContainsFunc(n.sim.nodes, func(o *simNode) bool { return n.sim.linked(n, o) })
}

func (s *segment) run(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(simTick)
		frames := s.frames
		s.frames = nil
		for _, f := range frames {
			s.deliver(f)
		}
		s.controller.tick()
		for _, n := range s.nodes {
			n.tick()
		}
		s.measure()
	}
}

func (s *segment) deliver(f simFrame) {
	from := s.nodes[f.from]
	for _, n := range s.nodes {
		if f.to >= 0 && f.to != n.id || !s.linked(from, n) || !n.running {
			continue
		}
		if n.stopped {
			n.backlog = append(n.backlog, f.said) // in its socket's buffer
			continue
		}
		n.hear(f.said)
	}
}

// measure notes how long two nodes that hear each other both have the address, and whether nobody is left who knows of an owner that
// can't be heard.
func (s *segment) measure() {
	for _, n := range s.nodes {
		watched, _ := n.m.Watching()
		uneasy := n.on && (n.m.Unsure() || watched.Chase)
		if n.uneasy && !uneasy && slices.ContainsFunc(s.nodes, func(o *simNode) bool { return o.bound && o != n && !s.linked(n, o) }) {
			s.forgotten = true
		}
		n.uneasy = uneasy
	}
	for i, a := range s.nodes {
		for j, b := range s.nodes[:i] {
			key := [2]int{j, i}
			if a.bound && b.bound && s.linked(a, b) && a.working() && b.working() {
				s.together[key] += simTick
				s.longest = max(s.longest, s.together[key])
			} else {
				s.together[key] = 0
			}
		}
	}
}

func (n *simNode) start() {
	n.running, n.stopped, n.backlog, n.probe, n.announcing, n.watch = true, false, nil, nil, false, Watched{}
	n.knows = -1
	n.m = New(vip, DefaultConfig(), func(netip.Addr, []string) (NIC, error) {
		return NIC{Name: "eth0", Deaf: n.sim.now.Sub(n.lastHeard) > 5*time.Second}, nil
	})
	n.wish = n.wishOn
	switch {
	case n.bound:
		memory := Memory{}
		if n.boundOn {
			memory = n.onDisk
		}
		n.m.Adopt(NIC{Name: "eth0"}, memory, n.sim.now)
		n.renewed = n.sim.now
		n.announcing, n.first, n.announceDue = false, time.Time{}, time.Time{}
	case n.wishOn != nil && !n.boundOn:
		n.m.Remember(n.onDisk)
	}
	if n.wish != nil {
		n.do(n.m.SetWish(n.wish, n.sim.now))
		n.ask()
	}
}

func (n *simNode) kill() { n.running, n.stopped, n.announcing = false, false, false }

func (n *simNode) stop() { n.stopped = true }

func (n *simNode) cont() {
	n.stopped = false
	n.afterPause()
	for _, said := range n.backlog {
		n.hear(said)
	}
	n.backlog = nil
}

// afterPause is what binder and scheduler see to when their process wakes.
func (n *simNode) afterPause() {
	n.held = n.sim.now.Add(100 * time.Millisecond)
	if n.bound && n.sim.now.Sub(n.renewed) > simLifetime-simMargin {
		n.bound = false
	}
	if !n.bound && n.m.Bound() {
		n.announcing = false
		n.do(n.m.Lost(n.sim.now))
	}
}

func (n *simNode) powerOff() {
	n.kill()
	n.on, n.hung, n.bound, n.wishOn, n.onDisk, n.boundOn, n.wish = false, false, false, nil, Memory{}, false, nil
}

func (n *simNode) powerOn() {
	n.on = true
	n.lastHeard = n.sim.now
	n.start()
}

func (n *simNode) hear(said Said) {
	if n.probe != nil && said.Kind != wire.Probe && !n.probe.Ignore[said.From] {
		n.probeSaw = said.From
	}
	before := n.m.State()
	effects := n.m.Heard(said, n.sim.now)
	if n.m.State() != before {
		n.sim.logf("%v node %d: %v by %v of %d (%s %v): %v", n.sim.now.Sub(epoch), n.id, before, said.Kind, said.From[5], said.Title, said.Titled, n.m.State())
	}
	n.do(effects)
}

func (n *simNode) do(effects []Effect) {
	now := n.sim.now
	for i := 0; i < len(effects); i++ {
		switch e := effects[i]; e.Do {
		case Probe:
			n.probe, n.probeDue, n.probeSaw = &e, now.Add(12*time.Millisecond), MAC{}
			n.question()
		case CancelProbe:
			n.probe = nil
		case Bind:
			n.bound, n.renewed = true, now
			effects = append(effects, n.m.BindDone(nil, now)...)
			n.sim.logf("%v node %d bound by title %s, wish %+v", now.Sub(epoch), n.id, n.m.Title(), *n.wish)
		case Unbind:
			n.bound = false
			n.sim.logf("%v node %d unbound", now.Sub(epoch), n.id)
		case Announce:
			n.announcing, n.first, n.announceDue = true, time.Time{}, now
		case Defend:
			n.announceDue = now
		case Assert:
			if n.announcing && n.first.IsZero() {
				break
			}
			n.announcing, n.first = true, time.Time{}
			n.announceDue = latest(now, n.lastAnnounced.Add(100*time.Millisecond))
		case Silence:
			n.announcing = false
		case Ask:
			n.ask()
		}
	}
	n.save()
}

func (n *simNode) save() {
	n.wishOn, n.onDisk, n.boundOn = nil, Memory{}, false
	if n.wish != nil && (n.m.Bound() || n.m.State() == Guarding) {
		n.wishOn, n.onDisk, n.boundOn = n.wish, n.m.Memory(), n.m.Bound()
	}
}

func (n *simNode) ask() {
	n.held = n.sim.now.Add(simWait)
	n.question()
}

// question is a broadcast probe; kernels answer it.
func (n *simNode) question() {
	n.say(-1, Said{From: n.mac, Kind: wire.Probe, Title: n.m.Title(), Titled: n.m.Bound()})
	for _, o := range n.sim.nodes {
		if n.sim.linked(n, o) && o.bound {
			o.say(n.id, Said{From: o.mac, Kind: wire.Answer})
		}
	}
}

func (n *simNode) say(to int, said Said) {
	if n.onWire() {
		n.sim.frames = append(n.sim.frames, simFrame{n.id, to, said})
	}
}

// tell has a node's announcer follow what the API wants.
func (n *simNode) tell(wish *Wish) {
	n.wish = wish
	if wish != nil && wish.Ending {
		n.wish = nil
	}
	n.do(n.m.SetWish(wish, n.sim.now))
	if n.m.Done() {
		n.do(nil)
	}
}

func (s *segment) holders(of func(*simNode) bool) []int {
	var holders []int
	for _, n := range s.nodes {
		if n.on && n.bound && of(n) {
			holders = append(holders, n.id)
		}
	}
	return holders
}

func (s *segment) describe() string {
	text := fmt.Sprintf("at %v:", s.now.Sub(epoch))
	for _, n := range s.nodes {
		text += fmt.Sprintf("\n  node %d: on %v cut %v side %d hung %v running %v stopped %v bound %v state %v title %s guards %v had %v heard %v report %+v wish %+v",
			n.id, n.on, n.cut, n.side, n.hung, n.running, n.stopped, n.bound, n.m.State(), n.m.title, n.m.guarded, n.m.had, n.m.heard, n.report(), n.wish)
	}
	return text + fmt.Sprintf("\n  controller: %+v", s.controller.pods)
}

func (n *simNode) report() Report {
	if n.m.wish == nil {
		return Report{}
	}
	return n.m.Report()
}

package liveness

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// host is a machine on the simulated wire.
type host struct {
	mac   MAC
	addrs []netip.Addr
	// dead machines and deaf ports say nothing; dropsEcho drops echo alone, proxied answers neighbour probes for anything.
	dead, dropsEcho bool
}

func (h *host) answers(p Probe) bool {
	return !h.dead && slices.Contains(h.addrs, p.Addr) && !(h.dropsEcho && p.Kind == Echo)
}

// arrival is a frame on its way to us.
type arrival struct {
	at    time.Time
	hand  func(at time.Time)
	maker MAC
}

// wire0 is the name of the simulated node's NIC.
const wire0 = "wire0"

// simulation is a core on a simulated wire, with a clock of its own. The kernel stamps and queues frames whatever the process
// does; a process that is paused neither reads nor ticks.
type simulation struct {
	core  *Core
	start time.Time
	now   time.Time
	rng   *rand.Rand
	hosts map[MAC]*host

	loss  int // percent, each way
	delay func() time.Duration
	// late is how late timers are.
	late func() time.Duration
	// cut says whether our port is silent.
	cut func(at time.Duration) bool
	// mute says that what we send is lost, though we hear.
	mute bool

	flight []arrival
	queued []arrival
	paused time.Time
	plans  []plan

	events []Event
	probes map[Kind]int
	asked  map[netip.Addr][]time.Time
	ticked func(probes []Probe, events []Event)
}

type plan struct {
	at time.Time
	do func()
}

func simulate(config Config, hosts ...*host) *simulation {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := &simulation{
		core: New(config), start: start, now: start, rng: rand.New(rand.NewPCG(1, 2)), hosts: map[MAC]*host{},
		delay: func() time.Duration { return ms }, late: func() time.Duration { return 0 }, cut: func(time.Duration) bool { return false },
		probes: map[Kind]int{}, asked: map[netip.Addr][]time.Time{},
	}
	for _, h := range hosts {
		s.hosts[h.mac] = h
	}
	return s
}

// seed makes another run of it.
func (s *simulation) seed(seed uint64) { s.rng = rand.New(rand.NewPCG(seed, seed)) }

// at plans something.
func (s *simulation) at(after time.Duration, do func()) {
	s.plans = append(s.plans, plan{s.start.Add(after), do})
	slices.SortStableFunc(s.plans, func(a, b plan) int { return a.at.Compare(b.at) })
}

// pause stops the process from now.
func (s *simulation) pause(d time.Duration) { s.paused = s.now.Add(d) }

// says has a machine broadcast an ARP request from an address of its own.
func (s *simulation) says(h *host, addr netip.Addr) {
	s.send(h.mac, func(at time.Time) {
		s.core.Claim(wire0, addr, h.mac, at)
		s.core.Frame(wire0, Sighting{From: h.mac, Addr: addr, At: at})
	})
}

func (s *simulation) send(from MAC, hand func(at time.Time)) {
	s.flight = append(s.flight, arrival{s.now.Add(s.delay()), hand, from})
}

func (s *simulation) lost() bool { return s.rng.IntN(100) < s.loss }

// run goes on until then.
func (s *simulation) run(until time.Duration) {
	end := s.start.Add(until)
	late := s.late()
	for {
		next, what := end, 0
		tick := s.core.Deadline()
		if tick.Before(s.now) {
			tick = s.now
		}
		if tick = tick.Add(late); s.core.Urgent() {
			tick = s.now
		}
		if tick.Before(s.paused) {
			tick = s.paused
		}
		if tick.Before(next) {
			next, what = tick, 1
		}
		frame := -1
		for i, f := range s.flight {
			if f.at.Before(next) {
				next, what, frame = f.at, 2, i
			}
		}
		if len(s.plans) > 0 && !s.plans[0].at.After(next) {
			next, what = s.plans[0].at, 3
		}
		if next.After(s.now) {
			s.now = next
		}
		switch what {
		case 0:
			s.now = end
			return
		case 1:
			s.tick()
			late = s.late()
		case 2:
			f := s.flight[frame]
			s.flight = slices.Delete(s.flight, frame, frame+1)
			if !s.cut(s.now.Sub(s.start)) {
				s.queued = append(s.queued, f)
			}
			if !s.now.Before(s.paused) {
				s.read()
			}
		case 3:
			do := s.plans[0].do
			s.plans = s.plans[1:]
			do()
		}
	}
}

// read hands over what the kernel has queued.
func (s *simulation) read() {
	queued := s.queued
	s.queued = nil
	for _, f := range queued {
		f.hand(f.at)
	}
}

func (s *simulation) tick() {
	// After a pause the reader or the loop may run first; before a verdict the loop reads by itself.
	if s.core.Suspicious(s.now) || s.rng.IntN(2) == 0 {
		s.read()
	}
	probes, events := s.core.Tick(s.now)
	if s.ticked != nil {
		s.ticked(probes, events)
	}
	s.events = append(s.events, events...)
	for _, p := range probes {
		s.probes[p.Kind]++
		s.asked[p.Addr] = append(s.asked[p.Addr], s.now)
		h, ok := s.hosts[p.MAC]
		if !ok || s.mute || s.cut(s.now.Sub(s.start)) || s.lost() || s.lost() || !h.answers(p) {
			continue
		}
		s.send(h.mac, func(at time.Time) { s.core.Answer(wire0, p.Addr, p.MAC, p.Kind, at) })
	}
	s.read()
}

// of returns the events of one kind since a time.
func (s *simulation) of(kind EventKind, since time.Duration) []Event {
	var some []Event
	for _, e := range s.events {
		if e.Kind == kind && !e.At.Before(s.start.Add(since)) {
			some = append(some, e)
		}
	}
	return some
}

func machine0(n byte, addrs ...netip.Addr) *host {
	return &host{mac: MAC{2, 0, 0, 0, 0, n}, addrs: addrs}
}

func vips(from, n int) []netip.Addr {
	var all []netip.Addr
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{192, 0, byte(2 + (from+i)/250), byte(1 + (from+i)%250)}))
	}
	return all
}

// guard makes targets of all that hosts hold.
func guard(hosts ...*host) []Target {
	var targets []Target
	for _, h := range hosts {
		for _, addr := range h.addrs {
			targets = append(targets, Target{Addr: addr, NIC: wire0, MAC: h.mac})
		}
	}
	return targets
}

func profiles(t *testing.T, f func(t *testing.T, config Config)) {
	for _, name := range []string{ProfileBalanced, ProfileFast} {
		config, err := Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { f(t, config) })
	}
}

// Package announce says on the wire which addresses this node holds: at once,
// repeated within the first seconds, then refreshed slowly, within one rate
// limit for the whole node.
package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// Link announces addresses of one family on one interface. Name must tell
// links of different interfaces apart; Links are compared with ==.
type Link interface {
	// Name returns the interface's name.
	Name() string
	// Announce claims addr by a title, in AnnounceFrames frames.
	Announce(addr netip.Addr, title wire.Title) error
	// AnnounceFrames returns how many frames an Announce sends.
	AnnounceFrames() int
}

// Plan is when an address is announced.
type Plan struct {
	// Repeats are the times of the repeats after the first announcement,
	// ascending and more than a second apart.
	Repeats []time.Duration
	// RefreshMin and RefreshMax bound the time between refreshes. A switch
	// forgets a MAC after 300 s, a router keeps its ARP entry for 1200 s: in
	// between, frames for a silent VIP flood or vanish.
	RefreshMin, RefreshMax time.Duration
	// DefendInterval is the least time between two Now of an address
	// (RFC 5227 section 1.1: 10 s).
	DefendInterval time.Duration
}

// DefaultPlan returns repeats after 1.1 s, 2.2 s and 5 s, refreshes every 60
// to 100 s, and a defence every 10 s.
func DefaultPlan() Plan {
	return Plan{
		Repeats:        []time.Duration{1100 * time.Millisecond, 2200 * time.Millisecond, 5 * time.Second},
		RefreshMin:     60 * time.Second,
		RefreshMax:     100 * time.Second,
		DefendInterval: 10 * time.Second,
	}
}

const (
	// DefaultRate and DefaultBurst are frames per second and frames at once
	// for the whole node. The burst lets 50 new IPv4 addresses be probed and
	// announced at once (50 × (3 + 2) frames). Switches with dynamic ARP
	// inspection shut an untrusted port down above 15 ARP packets a second by
	// default: there, either trust the port or set rate 10 and burst 10.
	DefaultRate  = 100
	DefaultBurst = 300

	// minGap is the least time between an announcement and a repeat.
	minGap = time.Second
	// againGap is the least time between an announcement and Again.
	againGap = 100 * time.Millisecond
	// A process that slept for pause longer than it meant to was held up, and
	// waits for pauseHold before it sends: others may have taken over, and the
	// wire is asked first.
	pause     = 500 * time.Millisecond
	pauseHold = 100 * time.Millisecond
	// gatePause is the wait before asking Allowed again about an address.
	gatePause = 200 * time.Millisecond
	// errorPause is the wait after a failed send (interface down).
	errorPause = time.Second
)

// Result is what became of one announcement.
type Result struct {
	Addr   netip.Addr
	Link   string
	Frames int
	Err    error
}

// Options configure a Scheduler.
type Options struct {
	// Plan is DefaultPlan if zero.
	Plan Plan
	// Limiter is a new one with DefaultRate and DefaultBurst if nil. Share it
	// with the prober.
	Limiter *Limiter
	// Clock is the real one if nil.
	Clock clock.Clock
	// Allowed is asked immediately before each announcement; nil allows all.
	// While it says no, nothing is sent for the address and it is asked again
	// every 200 ms. A process that was paused has overdue announcements when
	// it wakes: Allowed must say no from the moment at which the lease on the
	// address may have run out until the owner has checked it, by a clock that
	// counts the pause. It may be called from Run at any time, without locks
	// of the Scheduler held.
	Allowed func(addr netip.Addr) bool
	// Observe is told of every announcement tried; nil for nobody. It is
	// called from Run and must not block.
	Observe func(Result)
}

func (o *Options) complete() error {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Plan.Repeats == nil && o.Plan.RefreshMin == 0 && o.Plan.RefreshMax == 0 && o.Plan.DefendInterval == 0 {
		o.Plan = DefaultPlan()
	}
	p := o.Plan
	if p.RefreshMin < minGap || p.RefreshMax < p.RefreshMin {
		return fmt.Errorf("planning refreshes between %v and %v: want at least %v, ascending", p.RefreshMin, p.RefreshMax, minGap)
	}
	if !slices.IsSorted(p.Repeats) {
		return errors.New("planning repeats: not ascending")
	}
	if o.Limiter == nil {
		l, err := NewLimiter(DefaultRate, DefaultBurst, o.Clock)
		if err != nil {
			return err
		}
		o.Limiter = l
	}
	if o.Allowed == nil {
		o.Allowed = func(netip.Addr) bool { return true }
	}
	if o.Observe == nil {
		o.Observe = func(Result) {}
	}
	return nil
}

// Scheduler announces addresses. All methods are safe for concurrent use.
type Scheduler struct {
	o    Options
	wake chan struct{}

	// sending is held from the last look at an entry until its frames are
	// out, so that Stop can wait for them. Nothing of the owner is called with
	// it held.
	sending sync.Mutex

	mu   sync.Mutex // after sending
	core *core
}

// New returns a Scheduler; nothing is sent before Run.
func New(o Options) (*Scheduler, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Scheduler{o: o, wake: make(chan struct{}, 1), core: newCore(o.Plan)}, nil
}

// Start announces addr on link by a title from now on. It changes the title
// only if addr is already announced on this very link; another link of the same name replaces the
// former one and starts anew. To start anew on the same link, Stop first.
func (s *Scheduler) Start(addr netip.Addr, link Link, title wire.Title) {
	s.mu.Lock()
	started := s.core.start(addr, link, title, s.o.Clock.Now())
	s.mu.Unlock()
	if started {
		s.poke()
	}
}

// Retitle has the next announcements of addr carry another title.
func (s *Scheduler) Retitle(addr netip.Addr, title wire.Title) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.retitle(addr, title)
}

// Again starts announcing addr anew, as on the first day: at once, but not
// within 100 ms of its last announcement, and with all repeats.
func (s *Scheduler) Again(addr netip.Addr) {
	s.mu.Lock()
	s.core.again(addr, s.o.Clock.Now())
	s.mu.Unlock()
	s.poke()
}

// Hold sends nothing for addr for a while. What was due meanwhile is due then.
// It waits for a frame that is just being sent.
func (s *Scheduler) Hold(addr netip.Addr, d time.Duration) {
	s.mu.Lock()
	s.core.hold(addr, s.o.Clock.Now().Add(d))
	s.mu.Unlock()
	s.sending.Lock()
	defer s.sending.Unlock()
}

// Stop ends all announcements of addr. After it has returned no frame for addr
// is sent. It waits for a frame that is just being sent (at most 100 ms when
// the interface's queue is full).
func (s *Scheduler) Stop(addr netip.Addr) {
	s.mu.Lock()
	s.core.stop(addr)
	s.mu.Unlock()
	s.sending.Lock()
	defer s.sending.Unlock()
}

// StopOn is Stop for one interface only.
func (s *Scheduler) StopOn(addr netip.Addr, link string) {
	s.mu.Lock()
	s.core.stopOn(addr, link)
	s.mu.Unlock()
	s.sending.Lock()
	defer s.sending.Unlock()
}

// Now announces addr once more, as a defence against another machine's claim:
// at most once per DefendInterval. It returns whether it will.
func (s *Scheduler) Now(addr netip.Addr) bool {
	s.mu.Lock()
	due := s.core.now(addr, s.o.Clock.Now())
	s.mu.Unlock()
	if due {
		s.poke()
	}
	return due
}

func (s *Scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run sends what is due until ctx is done and then returns nil. Only one Run
// at a time.
func (s *Scheduler) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		wait := s.step()
		if wait == 0 {
			continue
		}
		if !s.sleep(ctx, wait) {
			return nil
		}
	}
	return nil
}

// sleep waits for d (for ever if negative) or until something changed; false
// when ctx is done.
func (s *Scheduler) sleep(ctx context.Context, d time.Duration) bool {
	var due <-chan time.Time
	start := s.o.Clock.Now()
	if d >= 0 {
		t := s.o.Clock.NewTimer(d)
		defer t.Stop()
		due = t.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.wake:
	case <-due:
	}
	if now := s.o.Clock.Now(); d >= 0 && now.Sub(start) > d+pause {
		s.mu.Lock()
		s.core.hold(netip.Addr{}, now.Add(pauseHold))
		s.mu.Unlock()
	}
	return true
}

// step sends at most one announcement. It returns how long there is nothing to
// do: 0 if there may be more at once, negative if there is nothing planned.
func (s *Scheduler) step() time.Duration {
	s.mu.Lock()
	now := s.o.Clock.Now()
	e, at := s.core.next(now)
	s.mu.Unlock()
	if e == nil {
		if at.IsZero() {
			return -1
		}
		return at.Sub(now)
	}
	return s.try(e)
}

func (s *Scheduler) try(e *entry) time.Duration {
	n := e.link.AnnounceFrames()
	allowed := s.o.Allowed(e.addr)
	if allowed {
		if ok, wait := s.o.Limiter.Take(n, s.kept(e.class)); !ok {
			// A new announcement wakes Run from this wait and goes before.
			return wait
		}
	}

	s.sending.Lock()
	s.mu.Lock()
	current := s.core.entries[e.key] == e && !s.o.Clock.Now().Before(e.held)
	title := e.title
	if current && !allowed {
		s.core.postpone(e, s.o.Clock.Now().Add(gatePause))
	}
	s.mu.Unlock()
	if !current || !allowed {
		s.sending.Unlock()
		return 0
	}
	err := e.link.Announce(e.addr, title)
	s.sending.Unlock()

	s.mu.Lock()
	now := s.o.Clock.Now()
	if err != nil {
		s.core.postpone(e, now.Add(errorPause))
	} else {
		s.core.sent(e, now)
	}
	s.mu.Unlock()
	s.o.Observe(Result{Addr: e.addr, Link: e.key.link, Frames: n, Err: err})
	return 0
}

// kept returns how many frames of the burst a class leaves for those before
// it.
func (s *Scheduler) kept(c class) int {
	return s.o.Limiter.Burst() * int(c) / 4
}

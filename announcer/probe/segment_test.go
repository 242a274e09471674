package probe

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var (
	vip      = netip.MustParseAddr("192.0.2.10")
	vip6     = netip.MustParseAddr("2001:db8::10")
	controls = []netip.Addr{netip.MustParseAddr("192.0.2.201"), netip.MustParseAddr("192.0.2.202")}
	own      = MAC{2, 0, 0, 0, 0, 1}
	peer     = MAC{2, 0, 0, 0, 0, 2}
	foreign  = MAC{2, 0, 0, 0, 0, 3}
	router   = MAC{2, 0, 0, 0, 0, 4}
)

const ms = time.Millisecond

// machine answers for addresses.
type machine struct {
	mac   MAC
	has   func(netip.Addr) bool
	after time.Duration
	// unicastAfter is the delay of answers to frames for it alone; negative is
	// never.
	unicastAfter time.Duration
	kind         Kind
}

func holds(addrs ...netip.Addr) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		for _, h := range addrs {
			if h == a {
				return true
			}
		}
		return false
	}
}

func everything(netip.Addr) bool { return true }

type sentFrame struct {
	At   time.Duration
	Addr string
	To   string
}

// segment is a Link with machines on it, in a synctest bubble.
type segment struct {
	start    time.Time
	prober   *Prober
	machines []machine
	// deaf keeps frames back until Sync, like a reader that gets no time.
	deaf bool
	err  error

	mu     sync.Mutex
	sent   []sentFrame
	queue  []Heard
	joined map[netip.Addr]int
}

func newSegment(t *testing.T, o Options, machines ...machine) *segment {
	t.Helper()
	s := &segment{start: time.Now(), machines: machines, joined: map[netip.Addr]int{}}
	p, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	s.prober = p
	t.Cleanup(func() {
		if len(p.sessions) != 0 {
			t.Errorf("sessions left: %v", p.sessions)
		}
		for a, n := range s.joined {
			if n != 0 {
				t.Errorf("%d memberships for %s left", n, a)
			}
		}
	})
	return s
}

func (s *segment) Probe(addr netip.Addr) error { return s.ask(addr, MAC{}) }

func (s *segment) ProbeTo(addr netip.Addr, to MAC) error { return s.ask(addr, to) }

func (s *segment) Join(addr netip.Addr) error { return s.member(addr, 1) }

func (s *segment) Leave(addr netip.Addr) error { return s.member(addr, -1) }

func (s *segment) member(addr netip.Addr, n int) error { s.joined[addr] += n; return nil }

func (s *segment) says(m MAC, addr netip.Addr, kind Kind) {
	s.deliver(Heard{Addr: addr, MAC: m, Source: m, Kind: kind, At: time.Now()})
}

func (s *segment) after(d time.Duration, f func()) { time.AfterFunc(d, f) }

func (s *segment) during(d time.Duration, m MAC, k Kind) { s.after(d, func() { s.says(m, vip, k) }) }

func (s *segment) request(cs ...netip.Addr) Request {
	return Request{Addr: vip, Controls: cs, Ignore: known}
}

func known(m MAC) bool { return m == own || m == peer }

func (s *segment) ask(addr netip.Addr, to MAC) error {
	if s.err != nil {
		return s.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := ""
	if !to.IsZero() {
		name = to.String()
	}
	s.sent = append(s.sent, sentFrame{time.Since(s.start), addr.String(), name})
	for _, m := range s.machines {
		delay := m.after
		if !to.IsZero() {
			delay = m.unicastAfter
		}
		if !m.has(addr) || !to.IsZero() && to != m.mac || delay < 0 {
			continue
		}
		kind := m.kind
		if kind == 0 {
			kind = KindAnswer
		}
		time.AfterFunc(delay, func() { s.says(m.mac, addr, kind) })
	}
	return nil
}

func (s *segment) deliver(h Heard) {
	if s.deaf {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = append(s.queue, h)
		return
	}
	s.prober.Hear(h)
}

func (s *segment) Sync() error {
	if s.err != nil {
		return s.err
	}
	s.mu.Lock()
	queue := s.queue
	s.queue = nil
	s.mu.Unlock()
	for _, h := range queue {
		s.prober.Hear(h)
	}
	return nil
}

func (s *segment) framesFor(addr netip.Addr) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at []time.Duration
	for _, f := range s.sent {
		if f.Addr == addr.String() {
			at = append(at, f.At)
		}
	}
	return at
}

// open opens a session until the test ends.
func (s *segment) open(t *testing.T, r Request) *Session {
	t.Helper()
	session, err := s.prober.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func probe(t *testing.T, s *Session) Verdict {
	t.Helper()
	v, err := s.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func late(t *testing.T, s *Session) Verdict {
	t.Helper()
	v, err := s.Late(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// turns is a Limiter that lets one frame pass per 10 ms.
type turns struct{ next time.Time }

func (l *turns) Wait(ctx context.Context, n int) error {
	if d := time.Until(l.next); d > 0 {
		time.Sleep(d)
	}
	l.next = time.Now().Add(time.Duration(n) * 10 * ms)
	return ctx.Err()
}

// unhurried is like Quick with rounder numbers: probes at 0, 7 and 14 ms, a verdict at 20 ms.
func unhurried() Timing {
	t := Quick()
	t.IntervalMin, t.IntervalMax, t.Wait = 7*ms, 7*ms, 6*ms
	return t
}

package probe

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
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

func (s *segment) Probe(addr netip.Addr) error           { return s.ask(addr, MAC{}) }
func (s *segment) ProbeTo(addr netip.Addr, to MAC) error { return s.ask(addr, to) }
func (s *segment) Join(addr netip.Addr) error            { return s.member(addr, 1) }
func (s *segment) Leave(addr netip.Addr) error           { return s.member(addr, -1) }
func (s *segment) member(addr netip.Addr, n int) error   { s.joined[addr] += n; return nil }
func (s *segment) says(m MAC, addr netip.Addr, kind Kind) {
	s.deliver(Heard{Addr: addr, MAC: m, Source: m, Kind: kind, At: time.Now()})
}
func (s *segment) after(d time.Duration, f func())       { time.AfterFunc(d, f) }
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

func TestVerdicts(t *testing.T) {
	tests := []struct {
		name     string
		machines []machine
		// says are unasked frames during the probe.
		says     map[time.Duration]Heard
		controls []netip.Addr
		addr     netip.Addr // vip if zero
		want     Verdict    // but Heard.At and Source
	}{
		{name: "silence is free after 20 ms", controls: controls, want: Verdict{Free: true, Took: 20 * ms}},
		{
			name:     "an answer without a control address is a conflict at once",
			machines: []machine{{mac: foreign, has: everything, after: 2 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Took: 2 * ms},
		},
		{
			name: "a machine that answers for the address only is its owner", controls: controls,
			machines: []machine{{mac: foreign, has: holds(vip), after: 2 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Took: 302 * ms},
		},
		{
			name: "a machine that answers for one of two control addresses is an owner", controls: controls,
			machines: []machine{{mac: foreign, has: holds(vip, controls[1]), after: 2 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Took: 302 * ms},
		},
		{
			name: "a machine that answers for everything is a proxy", controls: controls,
			machines: []machine{{mac: router, has: everything, after: ms, unicastAfter: ms}},
			want:     Verdict{Free: true, Proxy: router, Took: 20 * ms},
		},
		{
			name: "a proxy that answers broadcasts late is found by its unicast answers", controls: controls,
			machines: []machine{{mac: router, has: everything, after: 19 * ms, unicastAfter: ms}},
			want:     Verdict{Free: true, Proxy: router, Took: 20 * ms},
		},
		{
			name: "a proxy that answers broadcasts only is given its time", controls: controls,
			machines: []machine{{mac: router, has: everything, after: 15 * ms, unicastAfter: -1}},
			want:     Verdict{Free: true, Proxy: router, Took: 30 * ms},
		},
		{
			name: "a proxy does not hide an owner", controls: controls,
			machines: []machine{{mac: router, has: everything, after: ms}, {mac: foreign, has: holds(vip), after: 15 * ms}},
			want:     Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindAnswer}, Proxy: router, Took: 315 * ms},
		},
		{
			name: "a peer that still answers is no conflict", controls: controls,
			machines: []machine{{mac: peer, has: holds(vip), after: ms}},
			want:     Verdict{Free: true, Ignored: peer, Took: 20 * ms},
		},
		{
			name: "a gratuitous ARP is a conflict at once", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: foreign, Kind: KindClaim}},
			want: Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindClaim}, Took: 5 * ms},
		},
		{
			name: "a stranger that probes for the address at the same time is a conflict", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: foreign, Kind: KindProbe}},
			want: Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindProbe}, Took: 5 * ms},
		},
		{
			name: "a peer's and our own probe are none", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: peer, Kind: KindProbe}, 4 * ms: {Addr: vip, MAC: own, Kind: KindProbe}},
			want: Verdict{Free: true, Ignored: peer, Took: 20 * ms},
		},
		{
			name: "a machine that asks from the address is a conflict at once", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: vip, MAC: foreign, Kind: KindUse}},
			want: Verdict{MAC: foreign, Heard: Heard{Addr: vip, Kind: KindUse}, Took: 5 * ms},
		},
		{
			name: "what is said of other addresses does not matter", controls: controls,
			says: map[time.Duration]Heard{5 * ms: {Addr: controls[0], MAC: foreign, Kind: KindClaim}, 6 * ms: {Addr: vip6, MAC: foreign, Kind: KindClaim}},
			want: Verdict{Free: true, Took: 20 * ms},
		},
		{
			name: "an IPv6 proxy answers in the form of a claim", addr: vip6,
			controls: []netip.Addr{netip.MustParseAddr("2001:db8::a1"), netip.MustParseAddr("2001:db8::a2")},
			machines: []machine{{mac: router, has: everything, after: ms, kind: KindClaim}},
			want:     Verdict{Free: true, Proxy: router, Took: 20 * ms},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seg := newSegment(t, Options{Timing: unhurried()}, tt.machines...)
				r := seg.request(tt.controls...)
				if tt.addr.IsValid() {
					r.Addr = tt.addr
				}
				s := seg.open(t, r)
				for d, h := range tt.says {
					time.AfterFunc(d, func() { seg.deliver(h) })
				}
				got := probe(t, s)
				got.Heard.At, got.Heard.Source, got.Heard.MAC = time.Time{}, MAC{}, MAC{}
				if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Errorf("(-want +got):\n%s\nsent %v", diff, seg.sent)
				}
				if n := len(seg.framesFor(r.Addr)); n > 3 {
					t.Errorf("%d probes", n)
				}
			})
		})
	}
}

func TestProbesAreSpacedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		probe(t, seg.open(t, seg.request()))
		if diff := cmp.Diff([]time.Duration{0, 7 * ms, 14 * ms}, seg.framesFor(vip)); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: RFC5227()})
		v := probe(t, seg.open(t, seg.request()))
		at := seg.framesFor(vip)
		if len(at) != 3 || at[0] > time.Second {
			t.Fatalf("probes at %v", at)
		}
		for i := 1; i < 3; i++ {
			if gap := at[i] - at[i-1]; gap < time.Second || gap > 2*time.Second {
				t.Errorf("probes at %v", at)
			}
		}
		if want := at[2] + 2*time.Second; v.Took != want || !v.Free {
			t.Errorf("%s after %v, want %v", v, v.Took, want)
		}
	})
}

func TestALateAnswerIsFoundWhereverItFalls(t *testing.T) {
	for _, after := range []time.Duration{ms, 19 * ms, 21 * ms, 100 * ms, 500 * ms, 4900 * ms} {
		for _, deaf := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: foreign, has: holds(vip), after: after})
				seg.deaf = deaf
				s := seg.open(t, seg.request(controls...))
				v := probe(t, s)
				if v.Free {
					time.Sleep(50 * ms) // binding takes its time
					v = late(t, s)
				}
				if v.Free || v.MAC != foreign {
					t.Errorf("an answer after %v (deaf %t): %s", after, deaf, v)
				}
				if took := time.Since(seg.start); !deaf && took > after+400*ms {
					t.Errorf("an answer after %v was found after %v", after, took)
				}
			})
		}
	}
}

func TestWatchingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: router, has: everything, after: 100 * ms, unicastAfter: ms},
			machine{mac: peer, has: holds(vip), after: 50 * ms})
		s := seg.open(t, seg.request(controls...))
		if v := probe(t, s); !v.Free {
			t.Fatalf("%s", v)
		}
		// We hold it now: who probes for it is answered, not given way to.
		seg.during(time.Second, foreign, KindProbe)
		v := late(t, s)
		if !v.Free || v.Proxy != router || v.Ignored != peer || v.Took != 5*time.Second {
			t.Errorf("%s after %v: %+v", v, v.Took, v)
		}
	})
}

func TestAProxyIsRememberedForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: router, has: everything, after: ms, unicastAfter: ms})
		probe(t, seg.open(t, seg.request(controls...)))
		if !seg.prober.IsProxy(router) || seg.prober.IsProxy(foreign) {
			t.Error("the proxy is not known")
		}
		second := netip.MustParseAddr("192.0.2.11")
		before := len(seg.sent)
		v := probe(t, seg.open(t, Request{Addr: second, Controls: controls}))
		if !v.Free || v.Proxy != router || len(seg.sent)-before != 3 {
			t.Errorf("%s after %v", v, seg.sent[before:])
		}
		time.Sleep(proxyMemory)
		if seg.prober.IsProxy(router) {
			t.Error("the proxy is known for ever")
		}
	})
}

func TestAFloodOfMACsIsNoFloodOfOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		s := seg.open(t, seg.request(controls...))
		for i := range 100 {
			time.AfterFunc(ms, func() { seg.says(MAC{2, 0, 0, 0, 1, byte(i)}, vip, KindAnswer) })
		}
		if v := probe(t, s); v.Free {
			t.Errorf("%s", v)
		}
		if len(seg.sent) > 3+suspectMax*controlRounds*2*len(controls) {
			t.Errorf("%d frames sent", len(seg.sent))
		}
	})
}

func TestManyAddressesAtOnceDoNotMixUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := netip.MustParseAddr("198.51.100.7")
		seg := newSegment(t, Options{Timing: unhurried()}, machine{mac: foreign, has: holds(taken), after: ms})
		var wg sync.WaitGroup
		for i := range 50 {
			addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			s := seg.open(t, Request{Addr: addr, Controls: controls})
			wg.Go(func() {
				v, err := s.Probe(t.Context())
				if err != nil || v.Free != (addr != taken) {
					t.Errorf("%s: %s, %v", addr, v, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestWithoutSendingThereIsNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		s := seg.open(t, seg.request())
		seg.err = errors.New("network is down")
		if v, err := s.Probe(t.Context()); !errors.Is(err, seg.err) || v.Free {
			t.Errorf("%+v, %v", v, err)
		}
		if _, err := seg.prober.Open(seg.request()); !errors.Is(err, seg.err) {
			t.Errorf("Open: %v", err)
		}
		seg.err = nil
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		if v, err := s.Probe(ctx); !errors.Is(err, context.DeadlineExceeded) || v.Free {
			t.Errorf("%+v, %v", v, err)
		}
	})
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

func TestALimitedProbeListensAsLongAfterItsLastFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried(), Limiter: &turns{next: time.Now().Add(30 * ms)}})
		v := probe(t, seg.open(t, seg.request()))
		if diff := cmp.Diff([]time.Duration{30 * ms, 40 * ms, 50 * ms}, seg.framesFor(vip)); diff != "" {
			t.Errorf("probes (-want +got):\n%s", diff)
		}
		if !v.Free || v.Took != 56*ms {
			t.Errorf("%s after %v", v, v.Took)
		}
	})
}

func TestUnsuitableRequestsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := newSegment(t, Options{Timing: unhurried()})
		for _, r := range []Request{
			{},
			{Addr: netip.MustParseAddr("0.0.0.0")},
			{Addr: netip.MustParseAddr("ff02::1")},
			{Addr: vip, Controls: []netip.Addr{vip}},
			{Addr: vip, Controls: []netip.Addr{vip6}},
		} {
			if _, err := seg.prober.Open(r); err == nil {
				t.Errorf("%+v accepted", r)
			}
		}
	})
	for _, tm := range []Timing{{Late: time.Second}, {Count: 1, Wait: -1}, {Count: 1, IntervalMin: 2, IntervalMax: 1}} {
		if _, err := New(nil, Options{Timing: tm}); err == nil || !strings.HasPrefix(err.Error(), "timing a probe") {
			t.Errorf("%+v: %v", tm, err)
		}
	}
}

// unhurried is like Quick with rounder numbers: probes at 0, 7 and 14 ms, a verdict at 20 ms.
func unhurried() Timing {
	t := Quick()
	t.IntervalMin, t.IntervalMax, t.Wait = 7*ms, 7*ms, 6*ms
	return t
}

package announce

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// modelLink checks every frame against the model it belongs to.
type modelLink struct {
	name string
	m    *model
}

func (l *modelLink) Name() string                                 { return l.name }
func (l *modelLink) AnnounceFrames() int                          { return 2 }
func (l *modelLink) Announce(addr netip.Addr, _ wire.Title) error { return l.m.announced(addr, l.name) }

// model is what the owner of a Scheduler knows.
type model struct {
	t         *rapid.T
	clk       *clocktesting.FakeClock
	started   map[key]bool
	allowed   map[netip.Addr]bool
	down      map[string]bool
	announces map[key]int
	sends     []time.Time
	last      map[key]time.Time
	// excused are addresses whose next frame may follow the last one closely:
	// started anew or defended.
	excused map[key]bool
	held    map[key]time.Time
}

func (m *model) announced(addr netip.Addr, link string) error {
	k := key{addr, link}
	switch {
	case !m.started[k]:
		m.t.Fatalf("a frame for %s on %s, which is not announced there", addr, link)
	case !m.allowed[addr]:
		m.t.Fatalf("a frame for %s without leave", addr)
	case m.clk.Now().Before(m.held[k]):
		m.t.Fatalf("a frame for %s while it is held", addr)
	case m.down[link]:
		m.sends = append(m.sends, m.clk.Now()) // counts against the limit
		return errors.New("network is down")
	}
	now := m.clk.Now()
	if last, ok := m.last[k]; ok && !m.excused[k] && now.Sub(last) < minGap {
		m.t.Fatalf("%s on %s again after %v", addr, link, now.Sub(last))
	}
	delete(m.excused, k)
	m.last[k] = now
	m.announces[k]++
	m.sends = append(m.sends, now)
	return nil
}

// Whatever the owner does: no frame for an address that is stopped or not
// allowed, never above the limit, never twice within a second, and everything
// that may be announced is, in time.
func TestWhateverTheOwnerDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate, burst := rapid.IntRange(5, 50).Draw(t, "rate"), rapid.IntRange(2, 50).Draw(t, "burst")
		clk := clocktesting.NewFakeClock(time.Unix(1000, 0))
		m := &model{t: t, clk: clk, started: map[key]bool{}, allowed: map[netip.Addr]bool{}, down: map[string]bool{},
			announces: map[key]int{}, last: map[key]time.Time{}, excused: map[key]bool{}, held: map[key]time.Time{}}
		limiter, err := NewLimiter(rate, burst, clk)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Limiter: limiter, Clock: clk, Allowed: func(a netip.Addr) bool { return m.allowed[a] }})
		if err != nil {
			t.Fatal(err)
		}
		links := []*modelLink{{"eth0", m}, {"eth1", m}}
		addrs := make([]netip.Addr, 6)
		for i := range addrs {
			addrs[i] = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			m.allowed[addrs[i]] = true
		}
		// advance runs the schedule as Run does, but for the time that passes.
		advance := func(d time.Duration) {
			end := clk.Now().Add(d)
			for steps := 0; ; steps++ {
				if steps > 100_000 {
					t.Fatal("the schedule spins")
				}
				wait := s.step()
				if wait == 0 {
					continue
				}
				if wait < 0 || clk.Now().Add(wait).After(end) {
					break
				}
				clk.Step(wait)
			}
			clk.SetTime(end)
		}
		addr := func() netip.Addr { return rapid.SampledFrom(addrs).Draw(t, "addr") }
		link := func() *modelLink { return rapid.SampledFrom(links).Draw(t, "link") }
		t.Repeat(map[string]func(*rapid.T){
			"start": func(*rapid.T) {
				a, l := addr(), link()
				if k := (key{a, l.name}); !m.started[k] {
					m.started[k], m.excused[k] = true, true
				}
				s.Start(a, l, title)
			},
			"stop": func(*rapid.T) {
				a := addr()
				s.Stop(a)
				for _, l := range links {
					delete(m.started, key{a, l.name})
					delete(m.held, key{a, l.name})
				}
			},
			"stop on one link": func(*rapid.T) {
				a, l := addr(), link()
				s.StopOn(a, l.name)
				delete(m.started, key{a, l.name})
				delete(m.held, key{a, l.name})
			},
			"defend": func(*rapid.T) {
				if a := addr(); s.Now(a) {
					for _, l := range links {
						m.excused[key{a, l.name}] = true
					}
				}
			},
			"again": func(*rapid.T) {
				a := addr()
				s.Again(a)
				for _, l := range links {
					m.excused[key{a, l.name}] = true
				}
			},
			"hold": func(*rapid.T) {
				a, d := addr(), 50*time.Millisecond
				s.Hold(a, d)
				for _, l := range links {
					if k := (key{a, l.name}); m.started[k] {
						m.held[k] = clk.Now().Add(d)
					}
				}
			},
			"allow":  func(*rapid.T) { m.allowed[addr()] = true },
			"forbid": func(*rapid.T) { m.allowed[addr()] = false },
			"down":   func(*rapid.T) { m.down[link().name] = true },
			"up":     func(*rapid.T) { m.down[link().name] = false },
			"time passes": func(t *rapid.T) {
				advance(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "for")))
			},
			"the process is held up": func(t *rapid.T) {
				clk.Step(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "for")))
			},
		})
		checkRate(t, rate, burst, len(m.sends), func(i int) (time.Time, int) { return m.sends[i], 2 })

		// Let everything be allowed and well for long enough: all is announced.
		for _, a := range addrs {
			m.allowed[a] = true
		}
		clear(m.down)
		clear(m.announces)
		advance(100*time.Second + 15*time.Second)
		for k := range m.started {
			if m.announces[k] == 0 {
				t.Errorf("%s on %s was forgotten", k.addr, k.link)
			}
		}
	})
}

package liveness

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// nextDoor is two neighbours and a gateway.
func nextDoor(config Config) (*simulation, *host, *host) {
	a := machine0(1, netip.MustParseAddr("192.0.2.101"))
	b := machine0(2, netip.MustParseAddr("192.0.2.102"))
	gateway := machine0(9, netip.MustParseAddr("192.0.2.254"))
	s := simulate(config, a, b, gateway)
	s.core.SetNeighbours([]Neighbour{
		{Node: "node-1", Addr: a.addrs[0], NIC: wire0, MAC: a.mac}, {Node: "node-2", Addr: b.addrs[0], NIC: wire0, MAC: b.mac},
	}, s.now)
	s.at(100*ms, func() { s.says(gateway, gateway.addrs[0]) })
	return s, a, b
}

func TestSilentNeighbours(t *testing.T) {
	tests := []struct {
		name string
		do   func(s *simulation, a, b *host)
		// silent from and until when, from the death at 10 s on; nobody if zero.
		from, until time.Duration
	}{
		{"nobody while all answer", func(*simulation, *host, *host) {}, 0, 0},
		{"one that dies, until it answers again", func(s *simulation, a, b *host) {
			s.at(10*sec, func() { a.dead = true })
			s.at(20*sec, func() { a.dead = false })
		}, 2 * sec, 10 * sec},
		{"nobody who was never heard", func(s *simulation, a, b *host) { a.dead = true }, 0, 0},
		{"nobody whose answers are only rare", func(s *simulation, a, b *host) { s.loss = 30 }, 0, 0},
		{"nobody who drops echo", func(s *simulation, a, b *host) { a.dropsEcho = true }, 0, 0},
		{"nobody while our own port is cut", func(s *simulation, a, b *host) {
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 20*sec }
		}, 0, 0},
		{"nobody while we were stopped", func(s *simulation, a, b *host) { s.at(10*sec, func() { s.pause(8 * sec) }) }, 0, 0},
		{"nobody who lost that address but asks us", func(s *simulation, a, b *host) {
			s.at(10*sec, func() { a.addrs = nil })
			for at := 10 * sec; at < 40*sec; at += sec {
				s.at(at, func() {
					s.send(a.mac, func(at time.Time) { s.core.Frame(wire0, Sighting{From: a.mac, Addr: a.addrs0(), Own: true, At: at}) })
				})
			}
		}, 0, 0},
		{"nobody who still answers for a VIP", func(s *simulation, a, b *host) {
			a.addrs = append(a.addrs, vips(0, 1)...)
			s.core.SetTargets([]Target{{Addr: vips(0, 1)[0], NIC: wire0, MAC: a.mac}}, s.now)
			s.at(10*sec, func() { a.addrs = a.addrs[1:] })
		}, 0, 0},
		{"one that died stays silent though our NIC is down meanwhile", func(s *simulation, a, b *host) {
			s.at(10*sec, func() { a.dead = true })
			s.at(15*sec, func() { s.core.NICDown(wire0) })
			s.at(20*sec, func() { a.dead = false })
		}, 2 * sec, 10 * sec},
		{"one that is no longer to be watched is not silent either", func(s *simulation, a, b *host) {
			s.at(10*sec, func() { a.dead = true })
			s.at(15*sec, func() {
				s.core.SetNeighbours([]Neighbour{{Node: "node-2", Addr: b.addrs[0], NIC: wire0, MAC: b.mac}}, s.now)
			})
		}, 2 * sec, 5 * sec},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				s, a, b := nextDoor(config)
				tt.do(s, a, b)
				var from, until time.Duration
				s.ticked = func([]Probe, []Event) {
					at := s.now.Sub(s.start)
					silent := s.core.SilentNeighbours()
					switch {
					case len(silent) == 0 && from > 0 && until == 0:
						until = at
					case len(silent) > 0 && from == 0:
						from = at
					}
					if len(silent) > 0 && !slices.Equal(silent, []string{"node-1"}) {
						t.Fatalf("silent at %v: %v", at, silent)
					}
				}
				s.run(40 * sec)
				if tt.from == 0 {
					if from > 0 {
						t.Errorf("silent from %v until %v, want never", from, until)
					}
					return
				}
				if d := from - 10*sec; d < tt.from-neighbourEvery || d > tt.from+neighbourEvery+neighbourInsist {
					t.Errorf("silent after %v, want about %v", d, tt.from)
				}
				if d := until - 10*sec; d < tt.until || d > tt.until+slow+neighbourEvery {
					t.Errorf("no longer silent after %v, want about %v", d, tt.until)
				}
			})
		})
	}
}

func (h *host) addrs0() netip.Addr { return netip.MustParseAddr("192.0.2.101") }

func TestNeighboursAreAskedAboutOnceASecond(t *testing.T) {
	s, _, _ := nextDoor(Balanced())
	s.run(60 * sec)
	if n := s.probes[Echo] + s.probes[Solicit]; n < 2*60 || n > 2*90 {
		t.Errorf("%d questions to two neighbours in a minute", n)
	}
	if s.probes[Solicit] > 6 {
		t.Errorf("%d solicitations", s.probes[Solicit])
	}
}

func TestHearingAgain(t *testing.T) {
	chatter := func(s *simulation, every time.Duration) {
		other := machine0(7)
		for at := time.Duration(0); at < 40*sec; at += every {
			s.at(at, func() {
				s.send(other.mac, func(at time.Time) { s.core.Frame(wire0, Sighting{From: other.mac, At: at}) })
			})
		}
	}
	tests := []struct {
		name string
		do   func(s *simulation)
		want int
	}{
		{"not while frames come all the time", func(s *simulation) { chatter(s, 200*ms) }, 0},
		{"once after a cut of two seconds", func(s *simulation) {
			chatter(s, 200*ms)
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 12*sec }
		}, 1},
		{"not after a cut of half a second", func(s *simulation) {
			chatter(s, 200*ms)
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 10*sec+500*ms }
		}, 0},
		{"twice after two cuts", func(s *simulation) {
			chatter(s, 200*ms)
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 12*sec || at > 20*sec && at < 23*sec }
		}, 2},
		{"not on a segment where pauses are usual", func(s *simulation) { chatter(s, 3*sec) }, 0},
		{"not when this process was stopped and frames were queued", func(s *simulation) {
			chatter(s, 200*ms)
			s.at(10*sec, func() { s.pause(4 * sec) })
		}, 0},
		{"once when the whole machine was paused", func(s *simulation) {
			chatter(s, 200*ms)
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 13*sec }
			s.at(10*sec, func() { s.pause(3 * sec) })
		}, 1},
		{"once when the port was cut before this process was stopped for a moment", func(s *simulation) {
			chatter(s, 200*ms)
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 14*sec }
			s.at(12*sec, func() { s.pause(700 * ms) })
		}, 1},
		{"when the NIC had no carrier", func(s *simulation) {
			chatter(s, 200*ms)
			s.cut = func(at time.Duration) bool { return at > 10*sec && at < 14*sec }
			s.at(10*sec, func() { s.core.NICDown(wire0) })
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				for seed := range uint64(10) {
					s := simulate(config)
					s.seed(seed)
					tt.do(s)
					s.run(30 * sec)
					again := s.of(HeardAgain, 0)
					if len(again) != tt.want {
						t.Fatalf("heard again %d times, want %d: %v", len(again), tt.want, again)
					}
					for _, e := range again {
						if e.NIC != wire0 || e.At.Sub(s.start) > 24*sec {
							t.Errorf("heard again: %+v", e)
						}
					}
				}
			})
		})
	}
}

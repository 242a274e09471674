package liveness

import (
	"net/netip"
	"testing"
	"time"
)

// tookOver returns how long after its death each address was found silent.
func tookOver(s *simulation, died time.Duration) []time.Duration {
	var all []time.Duration
	for _, e := range s.of(Silent, 0) {
		all = append(all, e.At.Sub(s.start)-died)
	}
	return all
}

// segment is us, guarding what a and b hold, and a gateway that is asked for a sign of life when in doubt.
type segment struct {
	*simulation
	config        Config
	a, b, gateway *host
}

// third is whether anybody but a is on the segment.
func newSegment(config Config, third bool) *segment {
	s := &segment{config: config, a: machine0(1, vips(0, 5)...), b: machine0(2, vips(5, 5)...), gateway: machine0(9, netip.MustParseAddr("192.0.2.254"))}
	if !third {
		s.simulation = simulate(config, s.a)
		s.core.SetTargets(guard(s.a), s.now)
		return s
	}
	s.simulation = simulate(config, s.a, s.b, s.gateway)
	s.core.SetTargets(guard(s.a, s.b), s.now)
	s.at(100*ms, func() { s.says(s.gateway, s.gateway.addrs[0]) })
	return s
}

// dies is when what a test waits for happens: everybody has been heard, and HeardAgain is possible.
const dies = 7 * sec

func TestWhoFallsSilent(t *testing.T) {
	tests := []struct {
		name   string
		alone  bool // nobody but a is on the segment
		do     func(s *segment)
		silent int // how many addresses fall silent
		// from and to bound when, from dies on, as a multiple of the profile's silence plus a time.
		from, to func(c Config) time.Duration
	}{
		{name: "nobody, while all answer", do: func(*segment) {}},
		{name: "a host that dies, at once and with all its addresses",
			do:     func(s *segment) { s.at(dies, func() { s.a.dead = true }) },
			silent: 5, from: silence(0), to: silence(0)},
		{name: "two hosts that die together: the gateway proves that our port works",
			do:     func(s *segment) { s.at(dies, func() { s.a.dead, s.b.dead = true, true }) },
			silent: 10, from: silence(0), to: silence(0)},
		{name: "one address that a host lost, while it answers for the others",
			do:     func(s *segment) { s.at(dies, func() { s.a.addrs = s.a.addrs[1:] }) },
			silent: 1, from: silence(0), to: func(c Config) time.Duration { return c.Round + c.Every + c.Silence }},
		{name: "nobody who was never heard", do: func(s *segment) { s.a.dead = true }},
		{name: "nobody, while our own port is cut",
			do: func(s *segment) { s.cut = func(at time.Duration) bool { return at > dies } }},
		{name: "nobody, when our own port is back after a while",
			do: func(s *segment) { s.cut = func(at time.Duration) bool { return at > dies && at < dies+5*sec } }},
		{name: "the only other machine, after the longer silence",
			alone: true, do: func(s *segment) { s.at(dies, func() { s.a.dead = true }) },
			silent: 5, from: alone, to: alone},
		{name: "the last machine but one, whose guest was last heard long ago",
			alone: true, do: func(s *segment) {
				s.core.Frame(wire0, Sighting{From: MAC{2, 9}, At: s.now.Add(-11 * time.Minute)})
				s.at(dies, func() { s.a.dead = true })
			},
			silent: 5, from: alone, to: alone},
		{name: "nobody, when a third machine ought to be heard and isn't",
			alone: true, do: func(s *segment) {
				s.core.Frame(wire0, Sighting{From: MAC{2, 9}, At: s.now})
				s.at(dies, func() { s.a.dead = true })
			}},
		{name: "when others are heard but don't answer us, only after the longer silence",
			do: func(s *segment) {
				s.at(dies, func() { s.mute = true })
				for at := dies; at < dies+10*sec; at += 10 * ms {
					s.at(at, func() { s.says(s.gateway, s.gateway.addrs[0]) })
				}
			},
			silent: 10, from: alone, to: alone},
		{name: "nobody, though all drop echo", do: func(s *segment) { s.a.dropsEcho, s.b.dropsEcho = true, true }},
		{name: "nobody, when a host begins to drop echo", do: func(s *segment) { s.at(dies, func() { s.a.dropsEcho = true }) }},
		{name: "a host that drops echo and dies, a little later as it is asked less often",
			do: func(s *segment) {
				s.a.dropsEcho = true
				s.at(dies, func() { s.a.dead = true })
			},
			silent: 5, from: silence(0), to: silence(2 * time.Second)},
		{name: "nobody, when each host lets some echo pass",
			do: func(s *segment) { s.loss = 10 }},
		{name: "nobody, when a switch that has just started forwards nothing yet",
			do: func(s *segment) {
				s.at(dies, func() { s.core.NICDown(wire0) })
				s.cut = func(at time.Duration) bool { return at > dies && at < dies+5*sec }
			}},
		{name: "nobody, when our questions can't be sent",
			do: func(s *segment) {
				s.at(dies, func() { s.a.dead = true })
				s.ticked = func(probes []Probe, _ []Event) {
					for _, p := range probes {
						if s.a.dead && p.MAC == s.a.mac {
							s.core.Unsent(p)
						}
					}
				}
			}},
		{name: "nobody, though this process is stopped for seconds",
			do: func(s *segment) { s.at(dies, func() { s.pause(4 * sec) }) }},
		{name: "who died while this process was stopped, a whole silence after it goes on",
			do: func(s *segment) {
				s.at(dies-sec, func() { s.pause(sec); s.a.dead = true })
			},
			silent: 5, from: silence(0), to: silence(0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				s := newSegment(config, !tt.alone)
				tt.do(s)
				s.run(dies + 10*sec)
				took := tookOver(s.simulation, dies)
				if len(took) != tt.silent {
					t.Fatalf("%d addresses fell silent, want %d: %v", len(took), tt.silent, took)
				}
				for _, d := range took {
					if d < tt.from(config)-config.Every-5*ms || d > tt.to(config)+config.Every+config.Insist+config.Silence/10 {
						t.Errorf("silent after %v, want %v to %v", d, tt.from(config), tt.to(config))
					}
				}
				if len(took) > 0 {
					t.Logf("silent after %v to %v", took[0], took[len(took)-1])
				}
			})
		})
	}
}

func silence(more time.Duration) func(Config) time.Duration {
	return func(c Config) time.Duration { return c.Silence + more }
}

func alone(c Config) time.Duration { return c.Alone }

func TestALateTickVoidsItsRound(t *testing.T) {
	profiles(t, func(t *testing.T, config Config) {
		s := newSegment(config, true)
		s.run(dies)
		s.a.dead = true
		s.run(dies + config.Silence - config.Insist)
		voided := s.core.Stats().Voided
		asked := len(s.asked[s.a.addrs[0]])
		s.now = s.now.Add(config.Insist + config.Late + 10*ms) // past the end of the silence
		s.tick()
		if s.core.Stats().Voided != voided+1 || len(s.of(Silent, 0)) > 0 {
			t.Fatalf("voided %d rounds, want %d; silent: %v", s.core.Stats().Voided, voided+1, s.of(Silent, 0))
		}
		s.run(dies + 5*sec)
		silent := s.of(Silent, 0)
		if len(silent) != 5 {
			t.Fatalf("%d addresses fell silent, want 5", len(silent))
		}
		for i, at := range s.asked[s.a.addrs[0]][asked:] {
			if i == enough && at.After(silent[0].At) {
				t.Errorf("silent at %v, before %d fresh questions", silent[0].At.Sub(s.start), enough)
			}
		}
	})
}

func TestAHostThatDiesWhileOneAddressIsInDoubtLosesAllAtOnce(t *testing.T) {
	profiles(t, func(t *testing.T, config Config) {
		for before := config.Patience; before < config.Round+config.Silence; before += config.Patience {
			s := newSegment(config, true)
			doubtful := s.a.addrs[0]
			s.at(dies-before, func() { s.a.addrs = s.a.addrs[1:] })
			s.at(dies, func() { s.a.dead = true })
			s.run(dies + 10*sec)
			latest := config.Silence + config.Every + 2*config.Patience
			for _, e := range s.of(Silent, 0) {
				if after := e.At.Sub(s.start) - dies; e.Addr != doubtful && after > latest {
					t.Errorf("in doubt since %v before: %s was silent after %v, want %v at most", before, e.Addr, after, latest)
				}
			}
			if n := len(s.of(Silent, 0)); n != 5 {
				t.Errorf("in doubt since %v before: %d addresses fell silent, want 5", before, n)
			}
		}
	})
}

func TestRanksTakeOverOneAfterTheOther(t *testing.T) {
	tests := []struct {
		name string
		do   func(s *segment)
		// after is how much longer than the first rank the second waits; negative: for ever.
		after func(c Config) time.Duration
	}{
		{"the second waits longer", func(*segment) {}, func(c Config) time.Duration { return c.RankDelay }},
		{"while the first answers for what it claimed, the second does nothing", func(s *segment) {
			s.at(dies+s.config.Silence+s.config.Every, func() { s.b.addrs = s.a.addrs; s.claim(s.b) })
		}, func(Config) time.Duration { return -1 }},
		{"when the first, which claimed, falls silent too, the second takes over", func(s *segment) {
			s.at(dies+s.config.Silence+s.config.Every, func() { s.b.addrs = s.a.addrs; s.claim(s.b) })
			s.at(dies+2*sec, func() { s.b.dead = true })
		}, func(c Config) time.Duration { return 2*sec + c.Every }},
		{"a claim of somebody who doesn't answer only delays it", func(s *segment) {
			s.at(dies+s.config.Silence+s.config.Every, func() { s.claim(s.b) })
		}, func(c Config) time.Duration { return greeting + slow }},
		{"a claim long before the silence is forgotten", func(s *segment) {
			s.at(sec/2, func() { s.claim(s.b) })
			s.at(dies+5*sec, func() { s.a.dead = true })
			s.a.dead = false
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				s := newSegment(config, true)
				targets := guard(s.a)
				for i := range targets {
					targets[i].Rank = 1
				}
				s.core.SetTargets(targets, s.now)
				died := dies
				if tt.after == nil {
					died += 5 * sec
				} else {
					s.at(dies, func() { s.a.dead = true })
				}
				tt.do(s)
				s.run(died + 10*sec)
				took := tookOver(s.simulation, died)
				after := config.RankDelay
				if tt.after != nil {
					after = tt.after(config)
				}
				if after < 0 {
					if len(took) > 0 {
						t.Errorf("silent after %v", took)
					}
					return
				}
				if len(took) != 5 {
					t.Fatalf("%d addresses fell silent, want 5: %v", len(took), took)
				}
				for _, e := range s.of(Silent, 0) {
					if e.MAC != s.a.mac {
						t.Errorf("silent is %s, want %s, which the API names", e.MAC, s.a.mac)
					}
				}
				for _, d := range took {
					if d < config.Silence-config.Every || d > config.Silence+after+config.Every+config.Insist+config.Silence/5 {
						t.Errorf("silent after %v, want %v", d, config.Silence+after)
					}
				}
			})
		})
	}
}

// claim has a machine announce what a holds.
func (s *segment) claim(by *host) {
	for _, addr := range s.a.addrs {
		s.says(by, addr)
	}
}

func TestOnlyMistakenTakeoversBackOff(t *testing.T) {
	tests := []struct {
		name    string
		back    time.Duration // after that time in silence the host answers again
		doubled bool
	}{
		{"a host that was only paused", 100 * ms, true},
		{"a host that was cut off for seconds, and still has its addresses when it is back", 3 * sec, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			profiles(t, func(t *testing.T, config Config) {
				s := newSegment(config, true)
				s.at(dies, func() { s.a.dead = true })
				s.run(dies + config.Silence + config.Every + config.Insist)
				if len(s.of(Silent, 0)) != 5 {
					t.Fatal("the first silence wasn't found")
				}
				chased := guard(s.b)
				for _, addr := range s.a.addrs {
					chased = append(chased, Target{Addr: addr, NIC: wire0, MAC: s.a.mac, Chase: true})
				}
				s.core.SetTargets(chased, s.now)
				s.run(s.now.Sub(s.start) + tt.back)
				s.a.dead = false
				s.run(s.now.Sub(s.start) + 5*sec)
				s.core.SetTargets(guard(s.a, s.b), s.now)
				s.run(s.now.Sub(s.start) + 2*sec)
				again := s.now.Sub(s.start)
				s.a.dead = true
				s.run(again + 10*sec)
				silent := s.of(Silent, again)
				if len(silent) != 5 {
					t.Fatalf("%d addresses fell silent again, want 5", len(silent))
				}
				took := silent[0].At.Sub(s.start) - again
				if got := took > 2*config.Silence-config.Every; got != tt.doubled {
					t.Errorf("the second time it took %v, doubled: want %t", took, tt.doubled)
				}
			})
		})
	}
}

func TestWhoAnswersAgainIsHeardAgainAndCanFallSilentAgain(t *testing.T) {
	s := newSegment(Balanced(), true)
	s.at(dies, func() { s.a.dead = true })
	s.at(dies+5*sec, func() { s.a.dead = false })
	s.at(dies+10*sec, func() { s.a.dead = true })
	s.run(dies + 15*sec)
	if first, second := len(s.of(Silent, 0)), len(s.of(Silent, dies+10*sec)); first != 10 || second != 5 {
		t.Errorf("%d silences, %d of them the second time; want 10 and 5", first, second)
	}
	if heard := len(s.of(Heard, dies)); heard != 5 {
		t.Errorf("%d were heard again, want 5", heard)
	}
}

func TestAVerdictThatCameTooLateIsTakenBack(t *testing.T) {
	s := newSegment(Balanced(), true)
	s.ticked = func(_ []Probe, events []Event) {
		if s.now.Sub(s.start) < dies+sec {
			s.core.Withdraw(events)
		}
	}
	s.at(dies, func() { s.a.dead = true })
	s.at(dies+sec, func() { s.a.dead = false })
	s.run(dies + 5*sec)
	if n := len(s.of(Silent, dies+sec)); n > 0 {
		t.Errorf("%d are silent though they answer", n)
	}
}

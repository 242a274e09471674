package liveness

import (
	"slices"
	"testing"
	"time"
)

func TestACutOfOurOwnPortMakesNobodyPassForOneThatDropsEcho(t *testing.T) {
	// All echo of that time was lost. When the port is back the wire is asked by ARP who has what, and everybody answers that before
	// the next echo; a host that dies soon after must be missed as fast as ever.
	profiles(t, func(t *testing.T, config Config) {
		for answered := ms; answered < 2*config.Patience; answered += config.Patience / 10 {
			for after := 200 * ms; after < 3*sec; after += 100 * ms {
				s := newSegment(config, true)
				s.a.addrs = vips(0, 15)
				s.core.SetTargets(guard(s.a, s.b), s.now)
				back, died := dies+2*sec, dies+2*sec+after
				s.cut = func(at time.Duration) bool { return at > dies && at < back }
				s.at(back, func() { s.says(s.gateway, s.gateway.addrs[0]) })
				s.at(back+answered, func() {
					for _, addr := range s.a.addrs {
						s.send(s.a.mac, func(at time.Time) { s.core.Answer(wire0, addr, s.a.mac, Solicit, at) })
					}
				})
				s.at(died, func() { s.a.dead = true })
				s.run(died + 10*sec)
				took := tookOver(s.simulation, died)
				if len(took) != len(s.a.addrs) {
					t.Fatalf("died %v after the return: %d addresses fell silent, want %d: %v", after, len(took), len(s.a.addrs), took)
				}
				if latest := config.Silence + config.Every + 2*config.Insist + config.Silence/10; slices.Max(took) > latest {
					t.Fatalf("asked by ARP %v, died %v after the return: silent after %v to %v, want %v at most", answered, after, slices.Min(took), slices.Max(took), latest)
				}
			}
		}
	})
}

func TestAHostThatDropsEchoLosesAllItsAddressesTogether(t *testing.T) {
	// However many they are: no switch stands it if each is asked for by ARP in turn.
	profiles(t, func(t *testing.T, config Config) {
		s := newSegment(config, true)
		s.a.addrs, s.a.dropsEcho = vips(0, 40), true
		s.core.SetTargets(guard(s.a, s.b), s.now)
		died := dies + 60*sec // by then each has been heard
		s.at(died, func() { s.a.dead = true })
		s.run(died + 20*sec)
		took := tookOver(s.simulation, died)
		if len(took) != len(s.a.addrs) {
			t.Fatalf("%d addresses fell silent, want %d: %v", len(took), len(s.a.addrs), took)
		}
		for _, d := range took {
			if latest := config.Silence + 2*sec; d > latest {
				t.Errorf("silent after %v, want %v at most", d, latest)
			}
		}
	})
}

func TestAHostThatDroppedEchoForAWhileIsAskedByEchoAgainSoon(t *testing.T) {
	profiles(t, func(t *testing.T, config Config) {
		s := newSegment(config, true)
		s.at(dies, func() { s.a.dropsEcho = true })
		s.run(dies + 5*sec)
		p := s.core.peers[peerKey{wire0, s.a.mac, guarding}]
		if !p.isDumb() {
			t.Fatal("a host that drops echo doesn't pass for one")
		}
		s.a.dropsEcho = false
		s.run(dies + 5*sec + 2*dumbRetry*dumbEvery)
		if p.isDumb() {
			t.Error("it answers echo again, and nobody noticed")
		}
	})
}

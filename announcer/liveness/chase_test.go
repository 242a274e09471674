package liveness

import (
	"net/netip"
	"testing"
	"time"
)

// chasingA is a segment 2 s after the death of a, whose addresses were taken over from it.
func chasingA(config Config) *segment {
	s := newSegment(config, true)
	s.at(dies, func() { s.a.dead = true })
	s.run(dies + 2*sec)
	targets := guard(s.b)
	for _, addr := range s.a.addrs {
		targets = append(targets, Target{Addr: addr, NIC: wire0, MAC: s.a.mac, Chase: true})
	}
	s.core.SetTargets(targets, s.now)
	return s
}

func TestAChasedHostIsCaughtAtItsFirstSignOfLife(t *testing.T) {
	profiles(t, func(t *testing.T, config Config) {
		s := chasingA(config)
		s.run(dies + 5*sec)
		if returned := s.of(Returned, 0); len(returned) > 0 {
			t.Fatalf("returned while dead: %v", returned)
		}
		s.a.dead = false
		s.run(dies + 6*sec)
		seen := map[netip.Addr]time.Duration{}
		for _, e := range s.of(Returned, 0) {
			if _, ok := seen[e.Addr]; !ok {
				seen[e.Addr] = e.At.Sub(s.start) - dies - 5*sec
			}
		}
		for _, addr := range s.a.addrs {
			if d, ok := seen[addr]; !ok || d > config.ChaseEvery+10*ms {
				t.Errorf("%s returned after %v (%t)", addr, d, ok)
			}
		}
	})
}

func TestAChasedHostThatMissesAClaimIsCaughtAgainSoon(t *testing.T) {
	// Long after it was lost, when it is asked for one of its addresses at a time, a host comes back and lets go of all of them
	// but one, as it missed the claim of that.
	profiles(t, func(t *testing.T, config Config) {
		s := chasingA(config)
		back := dies + 2*sec + config.ChaseFor + 10*sec
		kept := s.a.addrs[len(s.a.addrs)-1]
		s.at(back, func() { s.a.dead = false })
		s.run(back + chaseSlow + 50*ms)
		s.a.addrs = []netip.Addr{kept}
		s.run(back + chaseSlow + 5*sec)
		times := map[netip.Addr][]time.Duration{}
		for _, e := range s.of(Returned, 0) {
			times[e.Addr] = append(times[e.Addr], e.At.Sub(s.start)-back)
		}
		for addr, of := range times {
			if addr != kept && of[len(of)-1] > chaseSlow+50*ms {
				t.Errorf("%s, which it let go of, returned at %v", addr, of)
			}
		}
		for i, of := 1, times[kept]; i < len(of); i++ {
			if gap := of[i] - of[i-1]; gap > callAgain+50*ms {
				t.Errorf("nobody asked for the one that it keeps for %v", gap)
			}
		}
		if n := len(times[kept]); n < 10 {
			t.Errorf("the one that it keeps returned %d times", n)
		}
	})
}

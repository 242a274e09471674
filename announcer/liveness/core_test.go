package liveness

import (
	"testing"
	"time"
)

// tookOver returns how long after its death each address of a host was found silent.
func tookOver(s *simulation, died time.Duration) []time.Duration {
	var all []time.Duration
	for _, e := range s.of(Silent, 0) {
		all = append(all, e.At.Sub(s.start)-died)
	}
	return all
}

func TestAllAddressesOfADeadHostFallSilentTogetherWithinTheProfilesTime(t *testing.T) {
	profiles(t, func(t *testing.T, config Config) {
		for _, n := range []int{1, 2, 5, 10, 30} {
			a, b := machine0(1, vips(0, n)...), machine0(2, vips(n, 3)...)
			s := simulate(config, a, b)
			s.core.SetTargets(guard(a, b), s.now)
			s.run(3 * sec)
			if heard := s.of(Heard, 0); len(heard) != n+3 {
				t.Fatalf("%d addresses: heard %d, want %d", n, len(heard), n+3)
			}
			a.dead = true
			s.run(10 * sec)
			took := tookOver(s, 3*sec)
			if len(took) != n {
				t.Fatalf("%d addresses: %d fell silent", n, len(took))
			}
			for _, d := range took {
				if d < config.Silence-config.Every || d > config.Every+config.Silence+config.Silence/10 {
					t.Errorf("%d addresses: one fell silent after %v", n, d)
				}
			}
			t.Logf("%d addresses: silent after %v to %v, %v probes", n, took[0], took[len(took)-1], s.probes)
		}
	})
}

func TestTurns(t *testing.T) {
	_ = time.Second
}

package liveness

import (
	"fmt"
	"time"
)

// Config is how patient a Core is.
type Config struct {
	// Every is the pace at which a pair of nodes exchanges questions while all is well.
	Every time.Duration
	// Round is within what time each address is asked for at least once.
	Round time.Duration
	// Rate is how many questions a second a node asks of all nodes that it stands by for, while all is well. With more of them
	// Every and Round are stretched (see Plan).
	Rate int
	// Patience is how long an answer may take before all addresses of that node are asked for at once.
	Patience time.Duration
	// Insist is the pace of questions from then on.
	Insist time.Duration
	// Silence is the least time without an answer that means silence, from the first unanswered question. Measured delays
	// stretch it.
	Silence time.Duration
	// RankDelay is how much longer each further standby waits.
	RankDelay time.Duration
	// Alone is the silence that counts where no third machine was ever heard: nothing tells then which of the two is cut off.
	Alone time.Duration
	// Late is by how much a turn may be late before it is void.
	Late time.Duration
	// ChaseEvery and ChaseFor: a node that addresses were taken over from is asked at that pace for that long, then twice a second.
	ChaseEvery, ChaseFor time.Duration
}

// Names of the profiles.
const (
	ProfileBalanced = "balanced"
	ProfileFast     = "fast"
)

// Balanced takes over in under a second and stands short pauses, loss and jitter: a virtual machine that is moved, or an
// address resolution, stops a node for up to half a second.
func Balanced() Config {
	return Config{
		Every: 150 * time.Millisecond, Round: time.Second, Rate: 300,
		Patience: 100 * time.Millisecond, Insist: 50 * time.Millisecond,
		Silence: 600 * time.Millisecond, RankDelay: 400 * time.Millisecond, Alone: 3 * time.Second,
		Late: 100 * time.Millisecond, ChaseEvery: 50 * time.Millisecond, ChaseFor: time.Minute,
	}
}

// Fast takes over in a quarter of a second, and takes a longer pause for a death.
func Fast() Config {
	return Config{
		Every: 40 * time.Millisecond, Round: time.Second, Rate: 600,
		Patience: 30 * time.Millisecond, Insist: 20 * time.Millisecond,
		Silence: 120 * time.Millisecond, RankDelay: 150 * time.Millisecond, Alone: 3 * time.Second,
		Late: 30 * time.Millisecond, ChaseEvery: 50 * time.Millisecond, ChaseFor: time.Minute,
	}
}

// Profile returns a profile by its name.
func Profile(name string) (Config, error) {
	switch name {
	case ProfileBalanced:
		return Balanced(), nil
	case ProfileFast:
		return Fast(), nil
	}
	return Config{}, fmt.Errorf("want %q or %q, not %q", ProfileBalanced, ProfileFast, name)
}

// Neighbours are asked less often and more patiently than VIPs: their loss is looked into by the controller, which has seconds.
const (
	neighbourEvery    = 800 * time.Millisecond // below a second, so that who is asked isn't deaf in between
	neighbourPatience = 200 * time.Millisecond
	neighbourInsist   = 200 * time.Millisecond
	neighbourSilence  = 2 * time.Second
)

// pace is how one peer is asked: a Config's for those that are stood by for, another for neighbours.
type pace struct {
	patience, insist, silence time.Duration
}

func (c Config) paceOf(p purpose) pace {
	if p == neighbouring {
		return pace{neighbourPatience, neighbourInsist, neighbourSilence}
	}
	return pace{c.Patience, c.Insist, c.Silence}
}

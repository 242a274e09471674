package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// settings of the suites "failover", "handoff", "load" and "rebalance".
type settings struct {
	repetitions int
	minutes     int
	seeds       int
	firstSeed   uint64
	sizes       string
	profiles    string
	proxy       string
	nice        int
	bytes       int64
	pairs       int
	orders      int
}

func (s *settings) addFlags(fs *flag.FlagSet) {
	fs.IntVar(&s.repetitions, "repetitions", 20, "suites failover and rebalance: repetitions of each loss, and of each plan in which the controller is killed; a quarter of them of each other single event")
	fs.IntVar(&s.minutes, "minutes", 30, "suite failover: minutes of each run that waits for false alarms")
	fs.IntVar(&s.seeds, "seeds", 2, "suite failover: runs that wait for false alarms, each with a seed of its own")
	fs.Uint64Var(&s.firstSeed, "seed", 1, "suite failover: the first of these seeds; the others follow it. Suite rebalance: what nodes and moments are drawn from")
	fs.StringVar(&s.sizes, "sizes", "3x30,5x50", "suite failover: nodes x VIPs, separated by commas")
	fs.StringVar(&s.proxy, "proxy", string(lab.NFTables), `suites failover and handoff: kube-proxy's mode, "nftables" or "iptables"`)
	fs.IntVar(&s.nice, "nice", 0, "suites failover, handoff and load: priority of the cluster's programs, as nice(1) counts, but announcers, client and backends")
	fs.StringVar(&s.profiles, "profiles", "balanced,fast", "suite failover: failover profiles, separated by commas")
	fs.IntVar(&s.orders, "orders", 20, "suite load: random orders in which weighted VIPs are created, the first one by -seed")
	fs.IntVar(&s.pairs, "pairs", 20, "suite handoff: pairs of each comparison of packet rates")
	fs.Int64Var(&s.bytes, "bytes", 1e9, "suite handoff: bytes of each bulk transfer")
}

func (s *settings) validate() error {
	if s.repetitions < 1 || s.minutes < 1 || s.seeds < 1 {
		return errors.New("-repetitions, -minutes and -seeds must be at least 1")
	}
	if s.orders < 1 {
		return errors.New("-orders must be at least 1")
	}
	if s.bytes < 1 {
		return errors.New("-bytes must be at least 1")
	}
	if s.pairs < scenario.FewestForInterval {
		return fmt.Errorf("-pairs must be at least %d", scenario.FewestForInterval)
	}
	if _, err := s.allSizes(); err != nil {
		return err
	}
	for _, name := range s.allProfiles() {
		if _, err := liveness.Profile(name); err != nil {
			return fmt.Errorf("-profiles: %w", err)
		}
	}
	return nil
}

// few is how often events are repeated for which the table wants no number.
func (s *settings) few() int { return max(1, s.repetitions/4) }

func (s *settings) allProfiles() []string { return strings.Split(s.profiles, ",") }

// size of a cluster.
type size struct{ nodes, vips int }

func (z size) String() string { return fmt.Sprintf("%d nodes, %d VIPs", z.nodes, z.vips) }

func (s *settings) allSizes() ([]size, error) {
	var sizes []size
	for _, text := range strings.Split(s.sizes, ",") {
		var z size
		if n, err := fmt.Sscanf(text, "%dx%d", &z.nodes, &z.vips); err != nil || n != 2 || z.nodes < 1 || z.vips < 1 {
			return nil, fmt.Errorf("-sizes: %q, want like 3x30", text)
		}
		sizes = append(sizes, z)
	}
	return sizes, nil
}

// marks of a profile: of the times to the first ARP answer elsewhere.
type marks struct{ median, longest, slack time.Duration }

func marksOf(profile string) marks {
	if profile == liveness.ProfileFast {
		return marks{250 * time.Millisecond, 600 * time.Millisecond, 100 * time.Millisecond}
	}
	return marks{900 * time.Millisecond, 1500 * time.Millisecond, 100 * time.Millisecond}
}

// cluster is the lab of a run.
func (s *settings) cluster(z size, profile string) lab.Options {
	return lab.Options{
		Nodes:         z.nodes,
		ProxyMode:     lab.ProxyMode(s.proxy),
		Nice:          s.nice,
		ComponentArgs: map[string][]string{"evenkeel-announcer": {"--failover-profile=" + profile}},
	}
}

// five is the size of what only makes sense with that many nodes.
var five = size{5, 50}

// services are the names of a size's Services.
func (z size) services() []string { return scenario.Names("web", z.vips) }

package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// lengths of pauses in the table.
var pauses = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second}

func (s *settings) pauses(ctx context.Context, p printer) error {
	return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
		for _, pause := range pauses {
			event := fmt.Sprintf("machine silent for %s", pause)
			var rows tallies
			one := rows.new(atMost(event+": one owner after the return", "ms", "within 200", 200))
			late := rows.new(none(event+": VIPs answered for 200 ms after the return though others had them", "VIPs"))
			stolen := rows.new(none(event+": VIPs stolen back", "VIPs"))
			for i := range s.few() {
				n, err := e.Busiest(i)
				if err != nil {
					return err
				}
				paused, err := e.PauseMachine(ctx, n, pause)
				p("paused, "+profile, paused)
				if err != nil {
					return err
				}
				one.add(paused.OneOwnerMs)
				late.add(float64(paused.LateAnswers))
				stolen.add(float64(paused.StolenBack))
			}
			rows.print(p, profile, z.String())
		}
		return nil
	})
}

// healWithin is the mark for what needs the API server.
const healWithin = 6 * time.Second

func (s *settings) both(ctx context.Context, p printer) error {
	for _, profile := range s.allProfiles() {
		err := s.run(ctx, five, profile, 1, func(e *scenario.Env, z size, profile string) error {
			var rows tallies
			answer := rows.new(atMost("active's and standby's node lost at once: all VIPs answer", "ms", "< 6000", ms(healWithin)))
			for range s.few() {
				lost, err := e.LoseBoth(ctx)
				p("both lost, "+profile, lost)
				if err != nil {
					return err
				}
				answer.add(lost.ARPMs...)
				answer.broken = answer.broken || lost.Silent > 0
			}
			rows.print(p, profile, z.String())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// splitLength leaves time for what is to happen within 6 s, and for an announcer's linger.
const splitLength = 15 * time.Second

func (s *settings) split(ctx context.Context, p printer) error {
	for _, profile := range s.allProfiles() {
		for _, here := range []int{2, 3} {
			for _, apiHere := range []bool{true, false} {
				rows := newSplitRows(here, apiHere, profile)
				for range s.few() {
					// Nothing moves back after a split, so that the next one would find all VIPs on one side.
					err := s.run(ctx, five, profile, 1, func(e *scenario.Env, z size, profile string) error {
						result, err := e.Split(ctx, here, apiHere, splitLength)
						p("split, "+profile, result)
						rows.add(result)
						return err
					})
					if err != nil {
						return err
					}
				}
				rows.print(p, profile, five.String())
			}
		}
	}
	return nil
}

// splitRows are the rows of one kind of split.
type splitRows struct {
	tallies
	guarded, bare, side, one, moved *tally
	// placed: the bare VIPs are to be placed anew.
	placed bool
}

func newSplitRows(here int, apiHere bool, profile string) *splitRows {
	event := fmt.Sprintf("split, %d of 5 nodes with the client, API server there: %t", here, apiHere)
	r := &splitRows{placed: apiHere && here >= 3}
	r.guarded = r.new(atMost(event+": VIPs with a placeholder there", "ms", "the profile's time", ms(marksOf(profile).longest)))
	// With API server and at least half of the nodes the others are placed anew; else an event says so.
	bound, mark := math.Inf(1), "printed"
	if r.placed {
		bound, mark = ms(healWithin), "< 6000"
	}
	r.bare = r.new(atMost(event+": the others", "ms", mark, bound))
	r.side = r.new(atMost(event+": owners per side", "owners", "1", 1))
	r.one = r.new(atMost(event+": one owner after healing", "ms", "within 1000", 1000))
	r.moved = r.new(atMost(event+": two owners in moves after healing", "ms", "< 50", 50))
	return r
}

func (r *splitRows) add(result scenario.Healed) {
	if result.Guarded.N > 0 {
		r.guarded.add(result.Guarded.Median, result.Guarded.Max)
	}
	r.guarded.broken = r.guarded.broken || result.GuardedLost > 0
	if result.Bare.N > 0 {
		r.bare.add(result.Bare.Median, result.Bare.Max)
	}
	r.bare.broken = r.bare.broken || r.placed && result.BareLost > 0
	r.side.add(float64(result.OwnersPerSide))
	r.one.add(result.OneOwnerMs)
	r.moved.add(result.MovedTwoOwnersMs)
}

func (s *settings) slow(ctx context.Context, p printer) error {
	sizes, err := s.allSizes()
	if err != nil {
		return err
	}
	for _, z := range sizes {
		o := s.cluster(z, liveness.ProfileBalanced)
		o.APIRelay = true
		// The kubelet's lease lasts 40 s and is renewed every 10 s.
		o.ControlPlaneArgs = map[string][]string{"kube-controller-manager": {"--node-monitor-grace-period=25s"}}
		err := guarded(ctx, o, 1, func(e *scenario.Env) error {
			if err := e.CreateAll(ctx, z.services(), lab.ServiceOptions{}); err != nil {
				return err
			}
			var rows tallies
			suspects, moves := rows.new(none("API latency of 3 s: suspects", "nodes")), rows.new(none("API latency of 3 s: moves", "moves"))
			slow, err := e.SlowAPI(ctx, 3*time.Second, time.Minute, scenario.Names("slow", 5))
			p("slow API", slow)
			if err != nil {
				return err
			}
			suspects.add(float64(len(slow.Suspects)))
			moves.add(float64(slow.Moves))
			suspects, moves = rows.new(none("kubelet NotReady: suspects", "nodes")), rows.new(none("kubelet NotReady: moves within a minute", "moves"))
			planned := rows.new(none("kubelet NotReady: unanswered probes of planned moves", "probes"))
			dead, err := e.KubeletDies(ctx, e.Nodes[0], 90*time.Second)
			p("kubelet dead", dead)
			if err != nil {
				return err
			}
			suspects.add(float64(len(dead.Suspects)))
			moves.add(float64(dead.Moves))
			planned.add(float64(dead.LaterProbes.Unanswered))
			rows.print(p, liveness.ProfileBalanced, z.String())
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// trapLength is how long nothing is to happen in a trap.
const trapLength = 30 * time.Second

func (s *settings) traps(ctx context.Context, p printer) error {
	return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
		for _, trap := range scenario.Traps() {
			var rows tallies
			takeovers := rows.new(none(string(trap)+": takeovers", "takeovers"))
			suspects := rows.new(none(string(trap)+": suspects", "nodes"))
			m := marksOf(profile)
			lost := rows.new(&tally{event: string(trap) + ": a node cut off, ARP answer elsewhere", unit: "ms", mark: "the profile's time", median: ms(m.median), longest: ms(m.longest)})
			result, err := e.Spring(ctx, trap, trapLength, true)
			p("trap, "+profile, result)
			if err != nil {
				return err
			}
			takeovers.add(float64(result.Takeovers))
			suspects.add(float64(len(result.Suspects)))
			lost.add(result.Loss.ARPMs...)
			lost.broken = result.Loss.Silent > 0
			rows.print(p, profile, z.String())
		}
		return nil
	})
}

// budget is what the code itself says of a size: the same functions spread its questions.
type budget struct {
	Nodes              int     `json:"nodes"`
	VIPs               int     `json:"vips"`
	FramesPerSecond    int     `json:"livenessFramesPerSecond"`
	ARPPerSecond       int     `json:"arpFromNodePerSecondWithoutEcho"`
	NodeDetectionMs    float64 `json:"nodeDetectionMs"`
	AddressDetectionMs float64 `json:"addressDetectionMs"`
}

// budgetSizes are those of the table.
var budgetSizes = []size{{3, 30}, {5, 50}, {50, 500}, {200, 2000}}

// watchedNeighbours of a node on the ring: one on each side.
const watchedNeighbours = 2

func budgetOf(z size, profile string) (budget, error) {
	config, err := liveness.Profile(profile)
	b := config.Budget(z.nodes, z.vips, 1, min(watchedNeighbours, z.nodes-1))
	return budget{z.nodes, z.vips, b.Packets, b.ARP, ms(b.NodeDetection), ms(b.AddressDetection)}, err
}

// countFor is how long frames are counted.
const countFor = 30 * time.Second

func (s *settings) frames(ctx context.Context, p printer) error {
	for _, profile := range s.allProfiles() {
		for _, z := range budgetSizes {
			b, err := budgetOf(z, profile)
			if err != nil {
				return err
			}
			p("budget, "+profile, b)
		}
	}
	return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
		var rows tallies
		arp := rows.new(atMost("ARP from a node's port in steady state", "packets/s", "< 10", 10))
		rate := rows.new(atMost("liveness frames at a node's port in steady state", "frames/s", "printed", math.Inf(1)))
		lost := rows.new(atMost("one lost VIP: ARP answer elsewhere", "ms", "printed", math.Inf(1)))
		counted, err := e.CountSteady(ctx, countFor)
		p("frames, "+profile, counted)
		if err != nil {
			return err
		}
		arp.add(counted.ARPFrom)
		rate.add(counted.Liveness)
		for i := range s.few() {
			n, err := e.Busiest(i)
			if err != nil {
				return err
			}
			one, err := e.LoseVIP(ctx, n)
			p("one VIP lost, "+profile, one)
			if err != nil {
				return err
			}
			lost.add(one.ARPMs...)
		}
		rows.print(p, profile, z.String())
		return nil
	})
}

func (s *settings) alarms(ctx context.Context, p printer) error {
	return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
		var rows tallies
		bound, mark := math.Inf(1), "printed per node and day"
		if profile == liveness.ProfileBalanced {
			bound, mark = 0, "0"
		}
		takeovers := rows.new(atMost("false alarms: takeovers", "takeovers", mark, bound))
		daily := rows.new(atMost("false alarms: takeovers per node and day", "takeovers", mark, bound))
		for seed := range s.seeds {
			result, err := e.FalseAlarms(ctx, scenario.Disturbed(s.firstSeed+uint64(seed)), time.Duration(s.minutes)*time.Minute)
			p("false alarms, "+profile, result)
			if err != nil {
				return err
			}
			takeovers.add(float64(result.Takeovers))
			daily.add(result.PerNodeAndDay)
		}
		rows.print(p, profile, z.String())
		return nil
	})
}

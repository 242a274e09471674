package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// rebalances is the suite of evening out.
func rebalances(s *settings) []benchmark {
	return []benchmark{
		{"join", "50 VIPs on 4 nodes, a fifth joins", s.join},
		{"rounds", "nodes lost and returned at random, then every node drained and returned in turn", s.rounds},
		{"kill", "the controller killed at random moments of plans", s.kill},
		{"plan", "what a plan for 5,000 VIPs on 1,000 nodes costs", s.plan},
	}
}

// evenRows are the rows of one kind of change.
type evenRows struct {
	tallies
	spread, seconds, moves, more, hash, twice, unanswered, failed, cut, owners *tally
}

// newEvenRows makes them; planned: nothing but planned moves happens, so that connections and pings are watched.
func newEvenRows(event string, planned bool) *evenRows {
	r := &evenRows{}
	r.spread = r.new(atMost(event+": max-min afterwards", "VIPs", "<= 1", 1))
	r.seconds = r.new(atMost(event+": until VIPs are even", "s", "<= 300", scenario.EvenWithin.Seconds()))
	r.moves = r.new(printed(event+": moves", "moves"))
	r.more = r.new(none(event+": moves beyond the fewest possible", "moves"))
	r.hash = r.new(printed(event+": moves by a hash", "moves"))
	r.twice = r.new(none(event+": VIPs moved twice", "VIPs"))
	if planned {
		r.unanswered = r.new(none(event+": unanswered pings", "pings"))
		r.failed = r.new(none(event+": failed connections", "connections"))
		r.cut = r.new(none(event+": established connections reset or timed out", "connections"))
		r.owners = r.new(atMost(event+": two owners", "ms", "< 50", 50))
	}
	return r
}

func (r *evenRows) add(e scenario.Evened) {
	r.spread.add(float64(e.After.MaxMin))
	r.spread.broken = r.spread.broken || !e.Even
	r.seconds.add(e.Seconds)
	r.moves.add(float64(e.Moves))
	r.more.add(float64(max(0, e.Moves-e.Least)))
	r.hash.add(float64(e.Hash))
	r.twice.add(float64(e.Twice))
	if r.cut != nil {
		r.unanswered.add(float64(e.Probes.Unanswered))
		r.failed.add(float64(e.Connects.Failed + e.Connects.Unanswered))
		r.cut.add(float64(e.Established.Cut()))
		r.owners.add(e.TwoOwnersMs)
	}
}

func (s *settings) join(ctx context.Context, p printer) error {
	return guarded(ctx, s.cluster(five, liveness.ProfileBalanced), 1, func(e *scenario.Env) error {
		if err := e.WithoutLast(ctx, five.services()); err != nil {
			return err
		}
		if err := e.SetRebalance(ctx, scenario.QuickPolicy()); err != nil {
			return err
		}
		rows := newEvenRows("a fifth node joins", true)
		joined, err := e.JoinNode(ctx)
		p("join", joined)
		if err != nil {
			return err
		}
		rows.add(joined)
		budget := rows.new(atMost("a fifth node joins: moves counted against the budget", "moves", "10", 10))
		budget.add(float64(joined.Recorded))
		rows.print(p, liveness.ProfileBalanced, "4 nodes and one more, 50 VIPs")
		return nil
	})
}

func (s *settings) rounds(ctx context.Context, p printer) error {
	for _, z := range []size{five, {3, 30}} {
		err := guarded(ctx, s.cluster(z, liveness.ProfileBalanced), 1, func(e *scenario.Env) error {
			if err := e.CreateAll(ctx, z.services(), lab.ServiceOptions{}); err != nil {
				return err
			}
			if err := e.SetRebalance(ctx, scenario.QuickPolicy()); err != nil {
				return err
			}
			if z == five {
				if err := s.losses5(ctx, p, e); err != nil {
					return err
				}
			}
			drains, returns := newEvenRows("drain", true), newEvenRows("return after a drain", true)
			for _, n := range e.Nodes {
				drained, returned, err := e.DrainAndReturn(ctx, n)
				p("drain", drained)
				p("return", returned)
				if err != nil {
					return err
				}
				drains.add(drained)
				returns.add(returned)
			}
			drains.print(p, liveness.ProfileBalanced, z.String())
			returns.print(p, liveness.ProfileBalanced, z.String())
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", z, err)
		}
	}
	return nil
}

// losses5 loses random nodes and returns them.
func (s *settings) losses5(ctx context.Context, p printer, e *scenario.Env) error {
	random := rand.New(rand.NewPCG(s.firstSeed, 0))
	losses, returns := newEvenRows("power loss", false), newEvenRows("return after a power loss", true)
	total, least, hash := 0, 0, 0
	for range s.repetitions {
		lost, returned, err := e.LoseAndReturn(ctx, e.Nodes[random.IntN(len(e.Nodes))])
		p("loss", lost)
		p("return", returned)
		if err != nil {
			return err
		}
		losses.add(lost)
		returns.add(returned)
		total, least, hash = total+lost.Moves+returned.Moves, least+lost.Least+returned.Least, hash+lost.Hash+returned.Hash
	}
	losses.print(p, liveness.ProfileBalanced, five.String())
	returns.print(p, liveness.ProfileBalanced, five.String())
	p("moves", map[string]int{"losses": s.repetitions, "moves": total, "fewestPossible": least, "byHash": hash})
	return nil
}

func (s *settings) kill(ctx context.Context, p printer) error {
	return guarded(ctx, s.cluster(five, liveness.ProfileBalanced), 1, func(e *scenario.Env) error {
		if err := e.CreateAll(ctx, five.services(), lab.ServiceOptions{}); err != nil {
			return err
		}
		if err := e.SetRebalance(ctx, scenario.QuickPolicy()); err != nil {
			return err
		}
		random := rand.New(rand.NewPCG(s.firstSeed, 1))
		rows := newEvenRows("controller killed in a plan", true)
		for i := range s.repetitions {
			killed, err := e.KillInPlan(ctx, e.Nodes[i%len(e.Nodes)], random)
			p("kill", killed)
			if err != nil {
				return err
			}
			rows.add(killed.Evened)
		}
		rows.print(p, liveness.ProfileBalanced, five.String())
		return nil
	})
}

// planned is what one plan costs.
type planned struct {
	Case    string  `json:"case"`
	Moves   int     `json:"moves"`
	Seconds float64 `json:"seconds"`
	// AllocatedMB in all, most of which is garbage in between; HeapMB is what is still there with the plan.
	AllocatedMB float64 `json:"allocatedMB"`
	HeapMB      float64 `json:"heapMB"`
}

func (s *settings) plan(_ context.Context, p printer) error {
	const nodes, vips = 1000, 5000
	var rows tallies
	took := rows.new(atMost("a plan for 5,000 VIPs on 1,000 nodes", "s", "printed", math.Inf(1)))
	for _, c := range []struct {
		name   string
		weight int64
		on     int // nodes that have VIPs
	}{{"100 of 1,000 nodes have joined", 1, 900}, {"placed at random, all weights 1", 1, -1}, {"placed at random, weights 1 to 5", 5, -1}} {
		shot := snapshot(nodes, vips, c.on, c.weight)
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		plan := rebalance.Plan(shot)
		seconds := time.Since(begin).Seconds()
		runtime.ReadMemStats(&after)
		took.add(seconds)
		p("plan", planned{c.name, len(plan.Moves), seconds, float64(after.TotalAlloc-before.TotalAlloc) / 1e6, float64(after.HeapAlloc) / 1e6})
	}
	rows.print(p, "", "1,000 nodes, 5,000 VIPs")
	return nil
}

// snapshot has VIPs on the first of the nodes in turn, or at random with on < 0; weights are up to the given one.
func snapshot(nodes, vips, on int, weight int64) rebalance.Snapshot {
	random := rand.New(rand.NewPCG(1, 2))
	shot := rebalance.Snapshot{Nodes: map[string]rebalance.Node{}, VIPs: map[string]rebalance.VIP{}}
	var names []string
	for i := range nodes {
		names = append(names, fmt.Sprintf("node-%04d", i))
		shot.Nodes[names[i]] = rebalance.Node{Capacity: 1, Joined: on >= 0 && i >= on}
	}
	for i := range vips {
		at := random.IntN(nodes)
		if on >= 0 {
			at = i % on
		}
		shot.VIPs[fmt.Sprintf("vip-%05d", i)] = rebalance.VIP{Weight: 1 + random.Int64N(weight), Active: names[at], Standbys: []string{names[(at+1)%nodes]}, Allowed: names}
	}
	return shot
}

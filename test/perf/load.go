package main

import (
	"context"
	"fmt"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// loads is the suite of where VIPs go.
func loads(s *settings) []benchmark {
	return []benchmark{
		{"weights", "40 VIPs of weights 1 to 10 on 4 nodes, in random orders, beside a hash's and random placement", s.weights},
		{"capacity", "40 VIPs on nodes of capacities 1, 1 and 2", s.capacity},
		{"traffic", "new VIPs beside a node that carries all the traffic with the fewest VIPs", s.traffic},
		{"afterloss", "what the loss of each of 5 nodes would leave where, 50 and 52 VIPs, with and without weights", s.afterLoss},
		{"local", "a VIP of policy Local follows its endpoints", s.local},
		{"counters", "throughput through a VIP with its traffic counted and not", s.counters},
	}
}

func (s *settings) weights(ctx context.Context, p printer) error {
	const nodes, vips = 4, 40
	return with(ctx, lab.Options{Nodes: nodes, Nice: s.nice}, func(e *scenario.Env) error {
		var rows tallies
		ours := rows.new(atMost("weights 1 to 10: largest minus smallest load", "weight", "<= 10", 10))
		hash := rows.new(printed("the same by MetalLB's hash rule, computed", "weight"))
		random := rows.new(printed("the same at random, computed", "weight"))
		for i := range uint64(s.orders) {
			w, err := e.PlaceWeighted(ctx, scenario.Names(fmt.Sprintf("order%d", i), vips), s.firstSeed+i)
			if err != nil {
				return err
			}
			p("weights", w)
			ours.add(float64(w.Ours.MaxMin))
			hash.add(float64(w.Hash.MaxMin))
			random.add(float64(w.Random.MaxMin))
		}
		rows.print(p, "", fmt.Sprintf("%d nodes, %d VIPs", nodes, vips))
		return nil
	})
}

func (s *settings) capacity(ctx context.Context, p printer) error {
	capacities := []int64{1, 1, 2}
	return with(ctx, lab.Options{Nodes: len(capacities), Nice: s.nice}, func(e *scenario.Env) error {
		if err := e.SetCapacities(ctx, capacities...); err != nil {
			return err
		}
		var rows tallies
		off := rows.new(atMost("capacities 1, 1 and 2: VIPs off the shares of 25, 25 and 50 %", "VIPs", "<= 1", 1))
		all := scenario.Names("web", 40)
		for created := 0; created < len(all); created += 10 {
			if err := e.CreateAll(ctx, all[created:created+10], lab.ServiceOptions{}); err != nil {
				return err
			}
			shares, err := e.SharesOf(ctx, capacities...)
			if err != nil {
				return err
			}
			p("capacity", shares)
			off.add(shares.Off)
		}
		rows.print(p, "", fmt.Sprintf("%d nodes, %d VIPs", len(capacities), len(all)))
		return nil
	})
}

func (s *settings) traffic(ctx context.Context, p printer) error {
	const busy, idle, more = 3, 6, 6
	for _, criteria := range [][]string{{"Traffic", "Count"}, {"Count", "Traffic"}} {
		o := lab.Options{Nodes: 3, Nice: s.nice,
			PluginArgs:    map[string]map[string]any{"VIPLoad": {"criteria": anys(criteria)}},
			ComponentArgs: map[string][]string{"evenkeel-controller": {"--load-criteria=" + criteria[0] + "," + criteria[1]}},
		}
		err := with(ctx, o, func(e *scenario.Env) error {
			b, err := e.PlaceBesideBusy(ctx, criteria, busy, idle, more)
			if err != nil {
				return err
			}
			p("traffic", b)
			var rows tallies
			toBusy := printed(criteria[0]+" first: new VIPs on the busy node", "VIPs")
			if criteria[0] == "Traffic" {
				toBusy = none(criteria[0]+" first: new VIPs on the busy node", "VIPs")
			}
			rows.new(toBusy).add(float64(b.ToBusy))
			rows.new(printed(criteria[0]+" first: busiest node's share of bytes beside the ideal", "ratio")).add(b.BusiestShare / b.IdealShare)
			rows.print(p, "", fmt.Sprintf("3 nodes, %d busy VIPs on one, %d idle ones on each other, %d new", busy, idle, more))
			return nil
		})
		if err != nil {
			return fmt.Errorf("criteria %v: %w", criteria, err)
		}
	}
	return nil
}

func anys(texts []string) (list []any) {
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}

func (s *settings) afterLoss(ctx context.Context, p printer) error {
	for _, vips := range []int{50, 52} {
		for _, weighted := range []bool{false, true} {
			z, what := size{5, vips}, "equal weights"
			if weighted {
				what = "weights 1 to 10"
			}
			err := guarded(ctx, lab.Options{Nodes: z.nodes, Nice: s.nice}, 1, func(e *scenario.Env) error {
				create := func() error { return e.CreateAll(ctx, z.services(), lab.ServiceOptions{}) }
				if weighted {
					create = func() error { return e.CreateWeighted(ctx, z.services(), s.firstSeed) }
				}
				if err := create(); err != nil {
					return err
				}
				if err := e.Whole(ctx); err != nil {
					return err
				}
				losses, took, err := e.Losses(ctx)
				if err != nil {
					return err
				}
				var rows tallies
				beyond := rows.new(none("after the loss of a node, "+what+": spread beyond the largest weight", "weight"))
				settled := rows.new(atMost("standbys settled, "+what, "s", "<= 10", 10))
				settled.add(took.Seconds())
				for _, loss := range losses {
					p("after loss", loss)
					beyond.add(float64(max(0, loss.Load.MaxMin-loss.Largest)))
				}
				rows.print(p, "", z.String())
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s, %s: %w", z, what, err)
			}
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// handoffs is the suite of what moves do to established connections.
func handoffs(s *settings) []benchmark {
	return []benchmark{
		{"moves", "20 moves of a VIP with 200 connections and 2,000 requests a second", s.moves},
		{"restarts", "the new owner's announcer killed and restarted, and all rolled, while connections are handed on", s.restartsInHandoff},
		{"without", "the same moves of a Service that refuses handoff", s.movesWithout},
		{"bulk", "1 GB each way on one connection, before, during and after three moves", s.bulk},
		{"rate", "packets a second through a VIP beside 0, 1 and 1,000 that are handed on", s.rate},
	}
}

// underLoad is what moves are made under: 200 connections with ten requests a second each.
func underLoad(moves int) scenario.MoveOptions {
	return scenario.MoveOptions{Connections: 200, Moves: moves, Every: 100 * time.Millisecond, Quiet: 12 * time.Second}
}

type moveRows struct {
	tallies
	cut, slower, owners, astray *tally
}

// newMoveRows makes the rows of moves; kept says whether connections are to live.
func newMoveRows(event string, kept bool) *moveRows {
	r := &moveRows{}
	if kept {
		r.cut = r.new(none(event+": connections reset or timed out", "connections"))
		r.slower = r.new(atMost(event+": slowest request beside that of a quiet phase", "ms", "< 50", 50))
	} else {
		r.cut = r.new(atMost(event+": connections reset or timed out", "connections", "printed", math.Inf(1)))
		r.slower = r.new(atMost(event+": slowest request beside that of a quiet phase", "ms", "printed", math.Inf(1)))
	}
	r.owners = r.new(atMost(event+": two owners", "ms", "< 50", 50))
	r.astray = r.new(none(event+": new connections not through the new owner", "connections"))
	return r
}

func (r *moveRows) add(m scenario.Moved) {
	r.cut.add(float64(m.Cut()))
	r.slower.add(max(m.Moving.Took.Max, m.Late.Took.Max) - m.Quiet.Took.Max)
	r.owners.add(m.TwoOwnersMs)
	r.astray.add(float64(m.Astray))
}

// eachMoved moves a VIP of a fresh cluster of each size.
func (s *settings) eachMoved(ctx context.Context, p printer, event string, kept bool, move func(e *scenario.Env, vip netip.Addr) (scenario.Moved, error)) error {
	sizes, err := s.allSizes()
	if err != nil {
		return err
	}
	for _, z := range sizes {
		err := guarded(ctx, s.cluster(z, liveness.ProfileBalanced), 1, func(e *scenario.Env) error {
			if err := e.CreateAll(ctx, z.services(), lab.ServiceOptions{}); err != nil {
				return err
			}
			rows := newMoveRows(event, kept)
			for range s.few() {
				owners, err := e.Owners()
				if err != nil {
					return err
				}
				var vips []netip.Addr
				for vip := range owners {
					vips = append(vips, vip)
				}
				if len(vips) == 0 {
					return errors.New("no VIP is announced")
				}
				moved, err := move(e, slices.MinFunc(vips, netip.Addr.Compare))
				p(event, moved)
				if err != nil {
					return err
				}
				rows.add(moved)
			}
			rows.print(p, liveness.ProfileBalanced, z.String())
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", z, err)
		}
	}
	return nil
}

func (s *settings) moves(ctx context.Context, p printer) error {
	return s.eachMoved(ctx, p, "20 moves", true, func(e *scenario.Env, vip netip.Addr) (scenario.Moved, error) {
		o := underLoad(20)
		o.Quiet, o.Elsewhere, o.Drains = time.Minute, true, true
		return e.MoveUnderLoad(ctx, vip, o)
	})
}

func (s *settings) restartsInHandoff(ctx context.Context, p printer) error {
	return s.eachMoved(ctx, p, "restarts in mid-handoff", true, func(e *scenario.Env, vip netip.Addr) (scenario.Moved, error) {
		o := underLoad(3)
		o.Between = e.RestartInHandoff
		return e.MoveUnderLoad(ctx, vip, o)
	})
}

func (s *settings) movesWithout(ctx context.Context, p printer) error {
	return s.eachMoved(ctx, p, "a move without handoff", false, func(e *scenario.Env, _ netip.Addr) (scenario.Moved, error) {
		vip, err := e.RefuseHandoff(ctx, scenario.Names("web", 1)[0])
		if err != nil {
			return scenario.Moved{}, err
		}
		return e.MoveUnderLoad(ctx, vip, underLoad(1))
	})
}

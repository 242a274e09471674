package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// movesInBulk is how often a VIP moves within one transfer.
const movesInBulk = 3

// bulkRows are the rows of one way.
type bulkRows struct {
	tallies
	cut, wrong, owners                             *tally
	before, during, after, duringShare, afterShare *tally
	packetBefore, packetAfter                      *tally
}

// printed is a row without a mark.
func printed(event, unit string) *tally { return atMost(event, unit, "printed", math.Inf(1)) }

func newBulkRows(way scenario.Way) *bulkRows {
	r := &bulkRows{}
	event := "bulk, " + string(way) + ": "
	r.cut = r.new(none(event+"transfers cut", "transfers"))
	r.wrong = r.new(none(event+"checksums wrong", "transfers"))
	r.owners = r.new(atMost(event+"two owners", "ms", "< 50", 50))
	r.before = r.new(printed(event+"throughput before the moves", "MB/s"))
	r.during = r.new(printed(event+"throughput during three moves", "MB/s"))
	r.after = r.new(printed(event+"throughput while handed on", "MB/s"))
	r.duringShare = r.new(printed(event+"throughput during three moves beside that before", "ratio"))
	r.afterShare = r.new(printed(event+"throughput while handed on beside that before", "ratio"))
	r.packetBefore = r.new(printed(event+"CPU per packet before the moves", "us"))
	r.packetAfter = r.new(printed(event+"CPU per packet while handed on", "us"))
	return r
}

func (r *bulkRows) add(b scenario.Bulk) {
	r.cut.add(float64(b.Cut()))
	r.wrong.add(float64(b.Wrong()))
	if b.Cut() > 0 {
		return // what was transferred until then is no throughput
	}
	r.owners.add(b.TwoOwnersMs)
	r.before.add(b.Before.MBPerSecond)
	r.during.add(b.During.MBPerSecond)
	r.after.add(b.After.MBPerSecond)
	r.duringShare.add(b.During.MBPerSecond / b.Before.MBPerSecond)
	r.afterShare.add(b.After.MBPerSecond / b.Before.MBPerSecond)
	r.packetBefore.add(b.Before.CPUPerPacketUs)
	r.packetAfter.add(b.After.CPUPerPacketUs)
}

func (s *settings) bulk(ctx context.Context, p printer) error {
	sizes, err := s.allSizes()
	if err != nil {
		return err
	}
	for _, z := range sizes {
		err := guarded(ctx, s.cluster(z, liveness.ProfileBalanced), 1, func(e *scenario.Env) error {
			if err := e.PlainPackets(); err != nil {
				return err
			}
			// The backend is on the node that had the VIP first, and moves leave it there.
			names := z.services()
			if err := e.CreateAll(ctx, names, lab.ServiceOptions{SameNode: true}); err != nil {
				return err
			}
			vips, err := e.Announced(ctx, names[0])
			if err != nil {
				return err
			}
			return s.bulkThrough(ctx, p, e, z, vips[names[0]][0])
		})
		if err != nil {
			return fmt.Errorf("%s: %w", z, err)
		}
	}
	return nil
}

func (s *settings) bulkThrough(ctx context.Context, p printer, e *scenario.Env, z size, vip netip.Addr) error {
	rows := map[scenario.Way]*bulkRows{}
	for range s.few() {
		for _, way := range scenario.Ways() {
			if rows[way] == nil {
				rows[way] = newBulkRows(way)
			}
			b, err := e.MoveInTransfer(ctx, vip, way, lab.Payload(s.bytes), movesInBulk)
			p("bulk, "+string(way), b)
			if err != nil {
				return err
			}
			rows[way].add(b)
		}
	}
	for _, way := range scenario.Ways() {
		rows[way].print(p, liveness.ProfileBalanced, z.String())
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// failover is the suite of the table of marks.
func failover(s *settings) []benchmark {
	return []benchmark{
		{"losses", "power loss and port cuts, the control plane up", s.losses(scenario.Up)},
		{"apiless", "the same without API server, controller and scheduler", s.losses(scenario.Down)},
		{"restarted", "the same after all announcers were restarted in that outage", s.losses(scenario.DownAndAnnouncersUp)},
		{"turns", "two losses with a return between, every node drained and returned in turn", s.turns},
		{"drains", "kubectl drain on 1, 2 and 3 nodes, with and without standbys, two nodes at once", s.drains},
		{"announcers", "announcers ended for good, restarted and rolled; controller and scheduler restarted", s.announcers},
		{"pauses", "machines silent for a while, and back", s.pauses},
		{"both", "an active's and a standby's node lost at once", s.both},
		{"split", "5 nodes split 2/3 and healed", s.split},
		{"slow", "API latency of 3 s; a dead kubelet", s.slow},
		{"traps", "ports that filter ARP, switches that suppress it", s.traps},
		{"frames", "frames per node in steady state; one lost VIP", s.frames},
		{"alarms", "false alarms under loss, jitter, busy cores and silent ports", s.alarms},
	}
}

// each runs f on a fresh cluster of each size and profile, with its Services.
func (s *settings) each(ctx context.Context, f func(e *scenario.Env, z size, profile string) error) error {
	sizes, err := s.allSizes()
	if err != nil {
		return err
	}
	for _, z := range sizes {
		for _, profile := range s.allProfiles() {
			if err := s.run(ctx, z, profile, 1, f); err != nil {
				return fmt.Errorf("%s, %s: %w", z, profile, err)
			}
		}
	}
	return nil
}

func (s *settings) run(ctx context.Context, z size, profile string, standbys int, f func(e *scenario.Env, z size, profile string) error) error {
	return guarded(ctx, s.cluster(z, profile), standbys, func(e *scenario.Env) error {
		// The pods of a lost node stay endpoints until it is NotReady: a request that is sent there says nothing about its VIP.
		if err := e.CreateAll(ctx, z.services(), lab.ServiceOptions{SameNode: true}); err != nil {
			return err
		}
		return f(e, z, profile)
	})
}

// takeoverRows are the rows that every loss contributes to.
type takeoverRows struct {
	tallies
	arp, http, far, spread, owners *tally
}

func newTakeoverRows(event, profile string) *takeoverRows {
	m := marksOf(profile)
	r := &takeoverRows{}
	r.arp = r.new(&tally{
		event: event + ": ARP answer elsewhere", unit: "ms", mark: fmt.Sprintf("median < %d, max < %d", m.median.Milliseconds(), m.longest.Milliseconds()),
		median: ms(m.median), longest: ms(m.longest),
	})
	r.http = r.new(atMost(event+": on-link HTTP after ARP", "ms", "within 100", ms(m.slack)))
	r.far = r.new(atMost(event+": HTTP through the router after ARP", "ms", "within 100", ms(m.slack)))
	r.spread = r.new(atMost(event+": max - min of VIPs right after", "VIPs", "<= 1", 1))
	r.owners = r.new(none(event+": two owners", "ms"))
	return r
}

// add adds a takeover; even says that standbys were where it was to come out evenly.
func (r *takeoverRows) add(t scenario.Takeover, even bool) {
	r.arp.add(t.ARPMs...)
	r.http.add(t.HTTPAfterARPMs)
	r.far.add(t.FarAfterARPMs)
	if even {
		r.spread.add(float64(t.Spread.MaxMin))
	}
	r.owners.add(t.TwoOwnersMs)
	if t.Silent > 0 || len(t.HTTPMs) < t.VIPs || len(t.FarMs) < t.VIPs {
		r.arp.broken, r.http.broken, r.far.broken = r.arp.broken || t.Silent > 0, r.http.broken || len(t.HTTPMs) < t.VIPs, r.far.broken || len(t.FarMs) < t.VIPs
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// losses loses one node after the other in each way, round by round.
func (s *settings) losses(control scenario.ControlPlaneState) func(ctx context.Context, p printer) error {
	return func(ctx context.Context, p printer) error {
		return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
			for _, fault := range scenario.Faults() {
				rows := newTakeoverRows(string(fault)+", control plane "+string(control), profile)
				moves := rows.new(none(string(fault)+": moves when the node returns", "moves"))
				observe := func(loss scenario.Loss) {
					p("loss, "+profile, loss)
					rows.add(loss.Takeover, loss.Earlier == 0)
					moves.add(float64(loss.ReturnMoves))
				}
				lose := s.loseEach
				if control != scenario.Up && fault != scenario.PowerLoss {
					lose = s.cutInOutages
				}
				if err := lose(ctx, e, fault, control, observe); err != nil {
					return err
				}
				rows.print(p, profile, z.String())
			}
			return nil
		})
	}
}

// loseEach loses a node in each repetition, each time from a state in which all is well.
func (s *settings) loseEach(ctx context.Context, e *scenario.Env, fault scenario.Fault, control scenario.ControlPlaneState, observe func(scenario.Loss)) error {
	for i := range s.repetitions {
		loss, err := e.LoseBusiest(ctx, i, fault, control)
		observe(loss)
		if err != nil {
			return err
		}
	}
	return nil
}

// cutsPerOutage is how many nodes are cut off, one after the other, in one outage of the control plane.
const cutsPerOutage = 5

// cutInOutages cuts nodes off, several in each outage.
func (s *settings) cutInOutages(ctx context.Context, e *scenario.Env, fault scenario.Fault, control scenario.ControlPlaneState, observe func(scenario.Loss)) error {
	for i := 0; i < s.repetitions; i += cutsPerOutage {
		if err := e.CutInOutage(ctx, i, min(cutsPerOutage, s.repetitions-i), fault, control, observe); err != nil {
			return err
		}
	}
	return nil
}

// turns loses two nodes with a return between, and drains every node in turn.
func (s *settings) turns(ctx context.Context, p printer) error {
	return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
		var rows tallies
		spread := rows.new(atMost("two losses with a return between: max - min at each takeover", "VIPs", "<= 1", 1))
		drained := rows.new(atMost("every node drained and returned in turn: max - min at each takeover", "VIPs", "<= 1", 1))
		for i := range s.few() {
			for next := range 2 {
				loss, err := e.LoseBusiest(ctx, i+next, scenario.PowerLoss, scenario.Up)
				p("one of two losses, "+profile, loss)
				if err != nil {
					return err
				}
				spread.add(float64(loss.Spread.MaxMin))
			}
			for _, n := range e.Nodes {
				d, err := e.Drain(ctx, n)
				p("drained in turn, "+profile, d)
				if err != nil {
					return err
				}
				drained.add(float64(d.Spread.MaxMin))
			}
			total, err := e.SpreadOf(ctx)
			if err != nil {
				return err
			}
			p("VIPs per node after a round of turns", total)
		}
		rows.print(p, profile, z.String())
		return nil
	})
}

// drains drains with the default profile: a planned move waits for no silence.
func (s *settings) drains(ctx context.Context, p printer) error {
	for _, nodes := range []int{1, 2, 3} {
		for _, standbys := range []int{0, 1} {
			z := size{nodes, 30}
			err := s.run(ctx, z, liveness.ProfileBalanced, standbys, func(e *scenario.Env, z size, profile string) error {
				rows := newDrainRows(fmt.Sprintf("drain with %d standbys", standbys), nodes > 1)
				for i := range s.few() {
					n, err := e.Busiest(i)
					if err != nil {
						return err
					}
					d, err := e.Drain(ctx, n)
					p("drained", d)
					if err != nil {
						return err
					}
					rows.add(d)
				}
				rows.print(p, profile, z.String())
				if nodes < 3 {
					return nil
				}
				rows = newDrainRows(fmt.Sprintf("drain of two nodes at once with %d standbys", standbys), true)
				for i := range s.few() {
					d, err := e.Drain(ctx, e.Nodes[i%nodes], e.Nodes[(i+1)%nodes])
					p("two drained at once", d)
					if err != nil {
						return err
					}
					rows.add(d)
				}
				rows.print(p, profile, z.String())
				return nil
			})
			if err != nil {
				return fmt.Errorf("draining on %d nodes with %d standbys: %w", nodes, standbys, err)
			}
		}
	}
	return nil
}

type drainRows struct {
	tallies
	seconds, probes, connects, cut, owners, cordon, back *tally
}

// newDrainRows makes the rows of a drain. Without another node there is nowhere to move to: the drop is shown, not judged.
func newDrainRows(event string, elsewhere bool) *drainRows {
	r := &drainRows{}
	r.seconds = r.new(atMost(event+": duration", "s", "< 60", 60))
	if elsewhere {
		r.probes = r.new(none(event+": unanswered probes", "probes"))
		r.connects = r.new(none(event+": failed connect()", "connections"))
		r.cut = r.new(none(event+": established connections that ended", "connections"))
	} else {
		r.probes = r.new(atMost(event+": unanswered probes", "probes", "printed", math.Inf(1)))
		r.connects = r.new(atMost(event+": failed connect()", "connections", "printed", math.Inf(1)))
		r.cut = r.new(atMost(event+": established connections that ended", "connections", "printed", math.Inf(1)))
	}
	r.owners = r.new(atMost(event+": two owners", "ms", "< 50", 50))
	r.cordon = r.new(none(event+": moves by the cordon alone", "moves"))
	r.back = r.new(none(event+": moves when the node returns", "moves"))
	return r
}

func (r *drainRows) add(d scenario.Drained) {
	r.seconds.add(d.Seconds)
	r.seconds.broken = r.seconds.broken || d.Error != ""
	r.probes.add(float64(d.Probes.Unanswered))
	r.connects.add(float64(d.Connects.Failed))
	r.cut.add(float64(d.Established.Cut()))
	r.owners.add(d.TwoOwnersMs)
	r.cordon.add(float64(d.CordonMoves))
	r.back.add(float64(d.ReturnMoves))
}

func (s *settings) announcers(ctx context.Context, p printer) error {
	return s.each(ctx, func(e *scenario.Env, z size, profile string) error {
		for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGSTOP} {
			longest := address.DefaultLifetime + time.Second + marksOf(profile).longest
			event := "announcer ended for good by " + unix.SignalName(sig)
			var rows tallies
			takeover := rows.new(atMost(event+": a standby holds its VIPs", "ms", fmt.Sprintf("< %d", longest.Milliseconds()), ms(longest)))
			gap := rows.new(atMost(event+": longest gap without any answer", "ms", "the profile's time", ms(marksOf(profile).longest)))
			stolen := rows.new(none(event+": VIPs stolen back", "VIPs"))
			owners := rows.new(none(event+": two owners", "ms"))
			for i := range s.few() {
				n, err := e.Busiest(i)
				if err != nil {
					return err
				}
				ended, err := e.EndAnnouncer(ctx, n, sig)
				p("announcer ended, "+profile, ended)
				if err != nil {
					return err
				}
				takeover.add(ended.ARPMs...)
				takeover.broken = takeover.broken || ended.Silent > 0
				gap.add(max(ended.Probes.LongestGapMs, ended.Probes.SlowestMs))
				stolen.add(float64(ended.StolenBack))
				owners.add(ended.TwoOwnersMs)
			}
			rows.print(p, profile, z.String())
		}
		byWhat := map[string]*drops{}
		var order []*drops
		for range s.few() {
			results, err := e.Restarts(ctx)
			for _, r := range results {
				p("restarted, "+profile, r)
				if byWhat[r.What] == nil {
					byWhat[r.What] = newDrops(r.What)
					order = append(order, byWhat[r.What])
				}
				byWhat[r.What].add(r)
			}
			if err != nil {
				return err
			}
		}
		for _, d := range order {
			d.print(p, profile, z.String())
		}
		return nil
	})
}

// drops are the rows of what must drop and move nothing.
type drops struct {
	tallies
	probes, moves *tally
}

func newDrops(event string) *drops {
	d := &drops{}
	d.probes = d.new(none(event+": unanswered probes", "probes"))
	d.moves = d.new(none(event+": moves", "moves"))
	return d
}

func (d *drops) add(r scenario.Restarted) {
	d.probes.add(float64(r.Probes.Unanswered))
	d.moves.add(float64(r.Moves))
}

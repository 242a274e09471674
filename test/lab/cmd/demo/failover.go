package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"evenkeel.io/evenkeel/test/scenario"
)

// failover takes the power of one node away and drains another, and says what became of their VIPs.
func (s *show) failover(ctx context.Context) error {
	lost, drained := s.env.Nodes[len(s.env.Nodes)-1], s.env.Nodes[0]
	fmt.Fprintf(s.out, "\nPower loss: %s is gone from one moment to the next.\n", lost.Name())
	loss, err := s.env.Lose(ctx, lost, scenario.PowerLoss, scenario.Up)
	if err != nil {
		return err
	}
	fmt.Fprint(s.out, lossText(loss))

	fmt.Fprintf(s.out, "\nkubectl drain %s --ignore-daemonsets, with every VIP of it pinged each 10 ms, 100 connections opened a second, and others in use that were opened before.\n", drained.Name())
	drain, err := s.env.Drain(ctx, drained)
	if err != nil {
		return err
	}
	fmt.Fprint(s.out, drainText(drain))
	fmt.Fprintln(s.out)
	var wrong []error
	if loss.Silent > 0 {
		wrong = append(wrong, fmt.Errorf("%d VIPs did not answer again after the loss of %s", loss.Silent, lost.Name()))
	}
	if cut := drain.Established.Cut(); cut > 0 {
		wrong = append(wrong, fmt.Errorf("the drain of %s ended %d established connections", drained.Name(), cut))
	}
	if drain.Error != "" {
		wrong = append(wrong, errors.New(drain.Error))
	}
	return errors.Join(wrong...)
}

func lossText(l scenario.Loss) string {
	if l.VIPs == 0 {
		return fmt.Sprintf("  It announced no VIP.\n")
	}
	text := fmt.Sprintf("  Its %d VIPs answered ARP from other nodes after %.0f to %.0f ms", l.VIPs, first(l.ARPMs), l.ARP.Max)
	if len(l.HTTPMs) > 0 {
		text += fmt.Sprintf(", HTTP after %.0f to %.0f ms", first(l.HTTPMs), l.HTTP.Max)
	}
	return text + fmt.Sprintf(".\n  VIPs on the nodes left: %v. New standbys were on guard after %.1f s.\n  The node came back and took nothing: %d VIPs moved.\n",
		l.Spread.PerNode, l.HealedMs/1000, l.ReturnMoves)
}

func drainText(d scenario.Drained) string {
	return fmt.Sprintf("  Done in %.1f s: %d VIPs moved, two nodes had one for %.1f ms at most.\n  Pings unanswered: %d of %d. New connections failed: %d of %d.\n  Established connections that ended: %d of %d, in %d requests; the slowest took %.0f ms.\n  VIPs on the other nodes: %v.\n",
		d.Seconds, d.Moves, d.TwoOwnersMs, d.Probes.Unanswered, d.Probes.Sent, d.Connects.Failed, d.Connects.Sent,
		d.Established.Cut(), d.Established.Connections, d.Established.Requests, d.Established.Took.Max, d.Spread.PerNode)
}

// first is the shortest of times, of which there is one at least.
func first(times []float64) float64 { return slices.Min(times) }

package main

import (
	"context"
	"errors"
	"time"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// countersRatio is how much of a figure is left while a VIP's traffic is counted.
type countersRatio struct {
	Figure string `json:"figure"`
	scenario.Interval
}

// counters compares what a VIP carries while it and 99 others are counted to what it carries without the table.
func (s *settings) counters(ctx context.Context, p printer) error {
	o := scenario.CountersOptions{Pairs: s.pairs, Half: 700 * time.Millisecond, Bytes: 300e6, VIPs: 100}
	c, err := lab.Start(ctx, lab.Options{Nodes: 2})
	if err != nil {
		return err
	}
	ratios := map[string][]float64{}
	err = scenario.Counters(ctx, c, o, func(pair scenario.CountersPair) {
		p("counters, a pair", pair)
		ratios[pair.Figure] = append(ratios[pair.Figure], pair.Ratio)
	})
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	for _, figure := range []string{scenario.CountersPackets, scenario.CountersBytes} {
		interval, err := scenario.IntervalOf(ratios[figure])
		if err != nil {
			return err
		}
		p("counters, ratio", countersRatio{figure, interval})
	}
	return nil
}

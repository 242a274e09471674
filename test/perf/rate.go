package main

import (
	"context"
	"errors"
	"time"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// ratio is a comparison's figure.
type ratio struct {
	scenario.Compared
	scenario.Interval
}

// rate compares 1 and 1,000 VIPs that are handed on to none, and none to a node without the table.
func (s *settings) rate(ctx context.Context, p printer) error {
	o := scenario.RateOptions{
		Compared: []scenario.Compared{{HandedOn: 1, Base: 0}, {HandedOn: 1000, Base: 0}, {HandedOn: 0, Base: scenario.WithoutTable}},
		Pairs:    s.pairs, Half: 700 * time.Millisecond,
	}
	c, err := lab.Start(ctx, lab.Options{Nodes: 2})
	if err != nil {
		return err
	}
	ratios := map[scenario.Compared][]float64{}
	err = scenario.Rates(ctx, c, o, func(pair scenario.Pair) {
		p("packet rate, a pair", pair)
		ratios[pair.Compared] = append(ratios[pair.Compared], pair.Ratio)
	})
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	for _, compared := range o.Compared {
		interval, err := scenario.IntervalOf(ratios[compared])
		if err != nil {
			return err
		}
		p("packet rate, ratio", ratio{compared, interval})
	}
	return nil
}

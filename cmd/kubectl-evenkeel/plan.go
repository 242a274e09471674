package main

import (
	"fmt"
	"maps"
	"slices"
)

// plan is what evening out would do.
type plan struct {
	moves []plannedMove
	// before and after are the weights of the nodes' active VIPs.
	before, after map[string]int64
	// held says in sentences what holds moves back.
	held []string
}

type plannedMove struct {
	vip, from, to, reason string
}

// printPlan shows what evening out would do.
func (o *options) printPlan(planned plan) error {
	out := o.streams.Out
	if len(planned.moves) == 0 {
		if _, err := fmt.Fprintln(out, "Nothing would be moved."); err != nil {
			return err
		}
	} else {
		table := newTable("VIP", "From", "To", "Why")
		for _, move := range planned.moves {
			addRow(table, move.vip, move.from, move.to, move.reason)
		}
		if err := printTable(out, table, false); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	table := newTable("Node", "Weight before", "Weight after")
	for _, node := range slices.Sorted(maps.Keys(planned.before)) {
		addRow(table, node, planned.before[node], planned.after[node])
	}
	if err := printTable(out, table, false); err != nil {
		return err
	}
	if len(planned.held) > 0 {
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	for _, sentence := range planned.held {
		if _, err := fmt.Fprintln(out, sentence); err != nil {
			return err
		}
	}
	return nil
}

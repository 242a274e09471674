package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// poolRow is what holds a pool's moves back.
type poolRow struct {
	name     string
	vips     int
	mode     v1alpha1.RebalanceMode
	balanced string
	moves    string
	held     string
}

func poolRows(s snapshot) []poolRow {
	var rows []poolRow
	for i := range s.pools {
		pool := &s.pools[i]
		p, errs := policy.Of(pool.Spec.Rebalance, policy.Default(), field.NewPath("spec", "rebalance"))
		situation := situationOf(pool, s)
		row := poolRow{name: pool.Name, mode: p.Mode, balanced: "unknown", moves: movesNow(p, situation, s)}
		if len(errs) > 0 {
			row.moves = "no: its policy can't be followed (see its condition Ready)"
		}
		if c := meta.FindStatusCondition(pool.Status.Conditions, v1alpha1.PoolBalanced); c != nil {
			row.balanced = "yes"
			if c.Status != metav1.ConditionTrue {
				row.balanced = "no: " + c.Reason
			}
		}
		row.vips, row.held = heldVIPs(pool.Name, p, situation, s)
		rows = append(rows, row)
	}
	return rows
}

func situationOf(pool *v1alpha1.VIPPool, s snapshot) policy.Situation {
	requested, _ := policy.Requested(pool, s.now) // one that can't be read asks for nothing
	situation := policy.Situation{Requested: requested}
	if pool.Status.Rebalance != nil {
		situation.Moves = pool.Status.Rebalance.Moves
	}
	for i := range s.vips {
		if move := s.vips[i].Spec.Move; s.vips[i].Spec.Pool == pool.Name && move != nil && policy.EvensOut(move.Reason) {
			situation.UnderWay++
		}
	}
	return situation
}

// movesNow says whether VIPs of the pool may be moved to even out now.
func movesNow(p policy.Policy, situation policy.Situation, s snapshot) string {
	n, hold := p.Allowance(situation, s.now)
	if n == 0 {
		return fmt.Sprintf("no: %s%s: %s", hold.Reason, until(hold.Until, s.now), hold.Message)
	}
	left, _ := p.Left(situation.Moves, s.now)
	return fmt.Sprintf("yes, %d more within the hour", left)
}

// heldVIPs counts the VIPs of a pool, and those that stay where they are by the reason that holds them.
func heldVIPs(pool string, p policy.Policy, situation policy.Situation, s snapshot) (vips int, held string) {
	bytes, all := s.rates()
	never := s.never()
	count := map[policy.Reason]int{}
	for i := range s.vips {
		vip := &s.vips[i]
		if vip.Spec.Pool != pool {
			continue
		}
		vips++
		candidate := policy.Candidate{VIP: vip.Name, Never: never(vip), Moved: policy.MovedAt(vip), Bytes: bytes[vip.Name], AllBytes: all}
		if hold := p.HoldsVIP(candidate, situation, s.now); hold != nil {
			count[hold.Reason]++
		}
	}
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(count)) {
		words = append(words, fmt.Sprintf("%d %s", count[reason], reason))
	}
	if len(words) == 0 {
		return vips, "none"
	}
	return vips, strings.Join(words, ", ")
}

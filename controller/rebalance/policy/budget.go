package policy

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// budgetSpan is what the budget is counted over.
const budgetSpan = time.Hour

// The budget is counted from what the pool's status records. A move is written there before it begins, onto the version of the pool
// that the budget was read from: a leader that dies in between leaves a move too many on record, never one too few, and of two that
// both believe to lead the API server takes one's.

// Recent are the recorded moves that still count. One that is an hour or more in the future was recorded by a clock that was
// wrong, and would hold everything back until then: it doesn't count.
func Recent(moves []v1alpha1.RebalanceMove, now time.Time) []v1alpha1.RebalanceMove {
	var recent []v1alpha1.RebalanceMove
	for _, move := range moves {
		if age := now.Sub(move.Time.Time); age < budgetSpan && age > -budgetSpan {
			recent = append(recent, move)
		}
	}
	slices.SortStableFunc(recent, func(a, b v1alpha1.RebalanceMove) int { return a.Time.Time.Compare(b.Time.Time) })
	return recent
}

// Record is the record with one more move in it and without those that count no more.
func Record(moves []v1alpha1.RebalanceMove, vip string, now time.Time) []v1alpha1.RebalanceMove {
	// Rounded up to what the API keeps, so that the hour isn't over too early.
	at := metav1.NewMicroTime(now.Add(time.Microsecond - 1).Truncate(time.Microsecond))
	return append(Recent(moves, now), v1alpha1.RebalanceMove{VIP: vip, Time: at})
}

// Left is how many moves may begin now as far as the budget goes, and, where none may, when one may again. A budget below one in an
// hour counts as one.
func (p Policy) Left(moves []v1alpha1.RebalanceMove, now time.Time) (left int, again time.Time) {
	recent, perHour := Recent(moves, now), max(1, p.PerHour)
	if left = perHour - len(recent); left > 0 {
		return left, time.Time{}
	}
	// The budget may have been larger when they were made: so many must grow old that one fewer than allowed is left.
	return 0, recent[len(recent)-perHour].Time.Add(budgetSpan)
}

// lastMove is when a VIP's last recorded move began; zero: none is on record.
func lastMove(moves []v1alpha1.RebalanceMove, vip string, now time.Time) time.Time {
	var last time.Time
	for _, move := range Recent(moves, now) {
		if move.VIP == vip {
			last = move.Time.Time
		}
	}
	return last
}

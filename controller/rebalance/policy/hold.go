package policy

import (
	"fmt"
	"time"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Reason is a word for what holds moves back.
type Reason string

// Reasons that concern all of a pool's VIPs.
const (
	// Off: the pool's VIPs are never evened out.
	Off Reason = "Off"
	// Manual: somebody has to say so.
	Manual Reason = "Manual"
	// OutsideWindow: no window is open.
	OutsideWindow Reason = "OutsideWindow"
	// MassFailure: so many nodes fell silent at once that it is more likely the network than the nodes.
	MassFailure Reason = "MassFailure"
	// MovesUnderWay: as many moves are under way as may be at once.
	MovesUnderWay Reason = "MovesUnderWay"
	// Budget: as many moves have begun within the last hour as may.
	Budget Reason = "Budget"
)

// Reasons that concern one VIP.
const (
	// Never: its Service says so.
	Never Reason = "Never"
	// Cooldown: it was moved to even out not long ago.
	Cooldown Reason = "Cooldown"
	// Traffic: it carries too large a share of the traffic.
	Traffic Reason = "Traffic"
)

// NodeSettling concerns a node that VIPs would be moved to: it hasn't been able to announce them for long enough.
const NodeSettling Reason = "NodeSettling"

// Hold says why something isn't moved.
type Hold struct {
	Reason Reason
	// Until when, where time alone ends it; zero where it doesn't.
	Until time.Time
	// Message for people.
	Message string
}

// Situation of a pool.
type Situation struct {
	// Moves as the pool's status records them.
	Moves []v1alpha1.RebalanceMove
	// UnderWay is how many moves have begun and are not over.
	UnderWay int
	// Requested: somebody asked for it now. See Requested.
	Requested bool
	// MassFailure is for how much longer nothing is to be moved because of it; 0: there is none.
	MassFailure time.Duration
}

// Allowance is how many moves may begin now, and what holds the rest back. At least one of the two is there.
func (p Policy) Allowance(s Situation, now time.Time) (moves int, hold *Hold) {
	if hold = p.forbidden(s, now); hold != nil {
		return 0, hold
	}
	atOnce := p.AtOnce - s.UnderWay
	left, again := p.Left(s.Moves, now)
	if left < atOnce {
		hold = &Hold{Budget, again, fmt.Sprintf("%d moves may begin in an hour", p.PerHour)}
		return max(left, 0), hold
	}
	return max(atOnce, 0), &Hold{MovesUnderWay, time.Time{}, fmt.Sprintf("%d may be under way at once", p.AtOnce)}
}

// forbidden says why none of the pool's VIPs is moved to even out, whatever the budget.
func (p Policy) forbidden(s Situation, now time.Time) *Hold {
	if p.Mode == v1alpha1.RebalanceOff {
		return &Hold{Off, time.Time{}, "the pool's mode is Off"}
	}
	if s.MassFailure > 0 {
		return &Hold{MassFailure, now.Add(s.MassFailure), "more than half of the nodes fell silent at once"}
	}
	if s.Requested {
		return nil
	}
	switch p.Mode {
	case v1alpha1.RebalanceAuto:
		return nil
	case v1alpha1.RebalanceWindowed:
		if _, open := OpenUntil(p.Windows, now); open {
			return nil
		}
		return &Hold{OutsideWindow, NextOpening(p.Windows, now), "no window is open"}
	default:
		return &Hold{Manual, time.Time{}, `the pool's mode is Manual: "kubectl evenkeel rebalance --now" evens out`}
	}
}

// Candidate is a VIP that would be moved.
type Candidate struct {
	VIP string
	// Never: its Service is annotated so.
	Never bool
	// Moved is when it was last moved to even out, as its status says. See MovedAt.
	Moved time.Time
	// Bytes a second that it carries, and that all VIPs carry together; 0 where nobody has measured it lately.
	Bytes, AllBytes int64
}

// busy is the traffic of all VIPs, in bytes a second (1 Mbit/s), below which no share of it is worth anything.
const busy = 125_000

// HoldsVIP says why a VIP isn't moved to even out; nil: nothing stands against it.
func (p Policy) HoldsVIP(c Candidate, s Situation, now time.Time) *Hold {
	if c.Never {
		return &Hold{Never, time.Time{}, "its Service says so"}
	}
	moved := c.Moved
	if recorded := lastMove(s.Moves, c.VIP, now); recorded.After(moved) {
		moved = recorded
	}
	if until, holds := pending(moved, p.Cooldown, now); holds {
		return &Hold{Cooldown, until, fmt.Sprintf("it was moved to even out less than %s ago", p.Cooldown)}
	}
	if p.Mode == v1alpha1.RebalanceAuto && !s.Requested && c.AllBytes >= busy && share(c) > p.TrafficShare {
		return &Hold{Traffic, time.Time{}, fmt.Sprintf("it carries more than %d %% of all VIPs' traffic", p.TrafficShare)}
	}
	return nil
}

// share in percent, rounded up.
func share(c Candidate) int64 {
	bytes := min(c.Bytes, c.AllBytes)
	return (bytes*100 + c.AllBytes - 1) / c.AllBytes // no network carries the 2^56 bytes a second that would overflow
}

// HoldsNode says why no VIP is moved to a node that has been able to announce since a moment; nil: nothing stands against it.
func (p Policy) HoldsNode(since, now time.Time) *Hold {
	until, holds := pending(since, p.Settle, now)
	if !holds {
		return nil
	}
	return &Hold{NodeSettling, until, fmt.Sprintf("it has been able to announce for less than %s", p.Settle)}
}

// pending says whether something of a moment (zero: it never was) isn't so long ago yet, and until when. A moment in the future is
// another clock's: it holds for no longer than one of now would.
func pending(at time.Time, span time.Duration, now time.Time) (until time.Time, holds bool) {
	if at.IsZero() || span <= 0 {
		return time.Time{}, false
	}
	if at.After(now) {
		at = now
	}
	until = at.Add(span)
	return until, until.After(now)
}

// MovedAt is when a VIP was last moved to even out, as its status remembers: a move for another reason since then makes it forget.
func MovedAt(vip *v1alpha1.VIP) time.Time {
	if last := vip.Status.LastMove; last != nil && EvensOut(last.Reason) {
		return last.Time.Time
	}
	return time.Time{}
}

// EvensOut says whether a reason for a move is one of those that even out.
func EvensOut(reason string) bool {
	return reason == v1alpha1.ReasonNodeJoined || reason == v1alpha1.ReasonImbalance
}

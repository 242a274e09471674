package policy

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func with(change func(*Policy)) Policy {
	p := Default()
	change(&p)
	return p
}

func TestAllowance(t *testing.T) {
	nightly := []Window{window(t, "0 3 * * *", "UTC", time.Hour)}
	mode := func(m v1alpha1.RebalanceMode) Policy {
		return with(func(p *Policy) { p.Mode, p.Windows = m, nightly })
	}
	tests := []struct {
		name   string
		policy Policy
		s      Situation
		now    time.Time
		moves  int
		reason Reason
		until  time.Time
	}{
		{"nothing stands against it", Default(), Situation{}, noon, 1, MovesUnderWay, time.Time{}},
		{"a move is under way", Default(), Situation{UnderWay: 1}, noon, 0, MovesUnderWay, time.Time{}},
		{"more are under way than may be", Default(), Situation{UnderWay: 3}, noon, 0, MovesUnderWay, time.Time{}},
		{"three at once", with(func(p *Policy) { p.AtOnce = 3 }), Situation{UnderWay: 1}, noon, 2, MovesUnderWay, time.Time{}},
		{"the budget is smaller than what may be at once", with(func(p *Policy) { p.AtOnce, p.PerHour = 5, 3 }), Situation{Moves: moves(time.Minute)}, noon, 2, Budget, time.Time{}},
		{"the budget is used up", with(func(p *Policy) { p.PerHour = 1 }), Situation{Moves: moves(time.Minute)}, noon, 0, Budget, noon.Add(59 * time.Minute)},
		{"off", mode(v1alpha1.RebalanceOff), Situation{}, noon, 0, Off, time.Time{}},
		{"off, though somebody asked", mode(v1alpha1.RebalanceOff), Situation{Requested: true}, noon, 0, Off, time.Time{}},
		{"manual", mode(v1alpha1.RebalanceManual), Situation{}, noon, 0, Manual, time.Time{}},
		{"manual, and somebody asked", mode(v1alpha1.RebalanceManual), Situation{Requested: true}, noon, 1, MovesUnderWay, time.Time{}},
		{"asking doesn't lift the budget", with(func(p *Policy) { p.PerHour = 1 }), Situation{Requested: true, Moves: moves(time.Minute)}, noon, 0, Budget, noon.Add(59 * time.Minute)},
		{"no window is open", mode(v1alpha1.RebalanceWindowed), Situation{}, noon, 0, OutsideWindow, noon.Add(15 * time.Hour)},
		{"no window is open, but somebody asked", mode(v1alpha1.RebalanceWindowed), Situation{Requested: true}, noon, 1, MovesUnderWay, time.Time{}},
		{"a window is open", mode(v1alpha1.RebalanceWindowed), Situation{}, noon.Add(15 * time.Hour), 1, MovesUnderWay, time.Time{}},
		{"the network failed, whoever asked", Default(), Situation{Requested: true, MassFailure: 20 * time.Second}, noon, 0, MassFailure, noon.Add(20 * time.Second)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			moves, hold := tt.policy.Allowance(tt.s, tt.now)
			if moves != tt.moves || hold == nil || hold.Reason != tt.reason || !hold.Until.Equal(tt.until) || hold.Message == "" {
				t.Errorf("%d moves, held by %+v; want %d, %s until %s", moves, hold, tt.moves, tt.reason, tt.until)
			}
		})
	}
}

func TestHoldsVIP(t *testing.T) {
	const vip = "192-0-2-10"
	tests := []struct {
		name   string
		policy Policy
		c      Candidate
		s      Situation
		want   Reason
		until  time.Time
	}{
		{name: "nothing stands against it", policy: Default(), c: Candidate{VIP: vip}},
		{name: "its Service says never", policy: Default(), c: Candidate{VIP: vip, Never: true}, want: Never},
		{name: "its Service says never, whoever asked", policy: Default(), c: Candidate{VIP: vip, Never: true}, s: Situation{Requested: true}, want: Never},
		{name: "it moved 9 minutes ago", policy: Default(), c: Candidate{VIP: vip, Moved: noon.Add(-9 * time.Minute)}, want: Cooldown, until: noon.Add(time.Minute)},
		{name: "it moved 9 minutes ago, whoever asked", policy: Default(), c: Candidate{VIP: vip, Moved: noon.Add(-9 * time.Minute)}, s: Situation{Requested: true}, want: Cooldown, until: noon.Add(time.Minute)},
		{name: "it moved 10 minutes ago", policy: Default(), c: Candidate{VIP: vip, Moved: noon.Add(-10 * time.Minute)}},
		{name: "a move of it is on record only, as it came to nothing", policy: Default(), c: Candidate{VIP: vip, Moved: noon.Add(-5 * time.Hour)}, s: Situation{Moves: moves(8*time.Minute, 3*time.Minute)}, want: Cooldown, until: noon.Add(7 * time.Minute)},
		{name: "a move of another one is on record", policy: Default(), c: Candidate{VIP: "192-0-2-11"}, s: Situation{Moves: moves(3 * time.Minute)}},
		{name: "another clock says that it will move in an hour", policy: Default(), c: Candidate{VIP: vip, Moved: noon.Add(time.Hour)}, want: Cooldown, until: noon.Add(10 * time.Minute)},
		{name: "no cooldown", policy: with(func(p *Policy) { p.Cooldown = 0 }), c: Candidate{VIP: vip, Moved: noon}},
		{name: "it carries half of everything", policy: Default(), c: Candidate{VIP: vip, Bytes: 500_000, AllBytes: 1_000_000}},
		{name: "it carries more than half of everything", policy: Default(), c: Candidate{VIP: vip, Bytes: 500_001, AllBytes: 1_000_000}, want: Traffic},
		{name: "it carries all of next to nothing", policy: Default(), c: Candidate{VIP: vip, Bytes: 100_000, AllBytes: 100_000}},
		{name: "nobody measured", policy: Default(), c: Candidate{VIP: vip}},
		{name: "it carries more than is measured in all", policy: Default(), c: Candidate{VIP: vip, Bytes: 3_000_000, AllBytes: 1_000_000}, want: Traffic},
		{name: "any share may move", policy: with(func(p *Policy) { p.TrafficShare = 100 }), c: Candidate{VIP: vip, Bytes: 1_000_000, AllBytes: 1_000_000}},
		{name: "busy, but a window is for that", policy: with(func(p *Policy) { p.Mode = v1alpha1.RebalanceWindowed }), c: Candidate{VIP: vip, Bytes: 1_000_000, AllBytes: 1_000_000}},
		{name: "busy, but somebody asked", policy: Default(), c: Candidate{VIP: vip, Bytes: 1_000_000, AllBytes: 1_000_000}, s: Situation{Requested: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hold := tt.policy.HoldsVIP(tt.c, tt.s, noon)
			if (hold == nil) != (tt.want == "") || hold != nil && (hold.Reason != tt.want || !hold.Until.Equal(tt.until)) {
				t.Errorf("held by %+v, want %q until %s", hold, tt.want, tt.until)
			}
		})
	}
}

func TestHoldsNode(t *testing.T) {
	p := Default()
	if hold := p.HoldsNode(noon.Add(-time.Minute), noon); hold == nil || hold.Reason != NodeSettling || !hold.Until.Equal(noon.Add(time.Minute)) {
		t.Errorf("a node of a minute is held by %+v", hold)
	}
	if hold := p.HoldsNode(noon.Add(-2*time.Minute), noon); hold != nil {
		t.Errorf("a node of two minutes is held by %+v", hold)
	}
	if hold := p.HoldsNode(noon.Add(time.Hour), noon); hold == nil || !hold.Until.Equal(noon.Add(2*time.Minute)) {
		t.Errorf("a node of another clock is held by %+v", hold)
	}
}

func TestMovedAt(t *testing.T) {
	vip := &v1alpha1.VIP{}
	if !MovedAt(vip).IsZero() {
		t.Error("it never moved")
	}
	vip.Status.LastMove = &v1alpha1.VIPMove{Reason: v1alpha1.ReasonNodeJoined, Time: metav1.NewTime(noon)}
	if !MovedAt(vip).Equal(noon) {
		t.Error("it was moved to even out at noon")
	}
	vip.Status.LastMove.Reason = "NodeSilent"
	if !MovedAt(vip).IsZero() {
		t.Error("a takeover is not evening out")
	}
}

package e2e

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// TestFailover tells what happens to guarded VIPs when nodes are lost, drained and paused. How fast that is the benchmarks judge:
// here a slow machine may take its time.
func TestFailover(t *testing.T) {
	ctx := t.Context()
	e, err := scenario.Start(ctx, lab.Options{Nodes: 3, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	e.SettleAtMost = generous
	if err := e.CreateAll(ctx, scenario.Names("web", 12), lab.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	chapters := []struct {
		name string
		tell func(context.Context, *testing.T, *scenario.Env)
	}{
		{"a node loses its power: its VIPs answer elsewhere, evenly spread, and its return moves nothing", losesNode(scenario.PowerLoss, scenario.Up)},
		{"a drain drops nothing, and neither the cordon nor the return moves anything", drained},
		{"planned moves keep established connections", keepsConnections},
		{"they live on when announcers restart in the middle", survivesRestarts},
		{"moves of a Service that refuses handoff reset them", cutsConnections},
		{"a port is cut while the control plane is down and after announcers were restarted: the same", losesNode(scenario.CarrierKept, scenario.DownAndAnnouncersUp)},
		{"a port that filters ARP and switches that suppress it raise no alarm", traps},
		{"the standbys of an announcer that stays dead hold its VIPs", endedAnnouncer},
		{"a machine that was paused steals nothing back", pausedMachine},
		{"rolling all announcers and restarting controller and scheduler moves and drops nothing", restarts},
	}
	for _, chapter := range chapters {
		if !t.Run(chapter.name, func(t *testing.T) { chapter.tell(ctx, t, e) }) {
			t.Log(logsOf(e))
		}
	}
}

// TestUnguarded is about VIPs without standbys: a dead or stopped announcer's go by themselves, and come back with it. Its kube-proxies
// are in the other mode.
func TestUnguarded(t *testing.T) {
	ctx := t.Context()
	e, err := scenario.StartGuarded(ctx, lab.Options{Nodes: 3, ProxyMode: lab.IPTables, Progress: os.Stderr}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	if err := e.CreateAll(ctx, unguarded, lab.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	chapters := []struct {
		name string
		tell func(context.Context, *testing.T, *scenario.Env)
	}{
		{"every VIP serves from everywhere, and nothing of the node is reachable through it", unguardedReach},
		{"beside kube-proxy's iptables, too, planned moves keep established connections, unless their Service refuses", movesBesideIPTables},
		{"the addresses of an announcer that stays dead go by themselves", deadAnnouncer},
		{"an announcer that was stopped takes back only what nobody has taken", stoppedAnnouncer},
	}
	for _, chapter := range chapters {
		if !t.Run(chapter.name, func(t *testing.T) { chapter.tell(ctx, t, e) }) {
			t.Log(logsOf(e))
		}
	}
}

var unguarded = scenario.Names("web", 9)

func unguardedReach(ctx context.Context, t *testing.T, e *scenario.Env) {
	reachable(ctx, t, e, unguarded[:3])
}

func losesNode(fault scenario.Fault, control scenario.ControlPlaneState) func(context.Context, *testing.T, *scenario.Env) {
	return func(ctx context.Context, t *testing.T, e *scenario.Env) {
		loss, err := e.LoseBusiest(ctx, 0, fault, control)
		t.Logf("%+v", loss)
		if err != nil {
			t.Fatal(err)
		}
		if loss.Silent > 0 || len(loss.HTTPMs) < loss.VIPs || len(loss.FarMs) < loss.VIPs {
			t.Errorf("of %d VIPs %d were not answered for elsewhere, %d served the client and %d the one behind the router", loss.VIPs, loss.Silent, len(loss.HTTPMs), len(loss.FarMs))
		}
		if loss.Spread.MaxMin > 1 {
			t.Errorf("VIPs on the survivors = %v, want them to differ by one at most", loss.Spread.PerNode)
		}
		if loss.TwoOwnersMs > 0 {
			t.Errorf("two nodes had one VIP for %.0f ms", loss.TwoOwnersMs)
		}
		if !loss.Suspect {
			t.Errorf("%s wasn't suspect while it was lost", loss.Node)
		}
		if loss.ReturnMoves > 0 {
			t.Errorf("the return of %s moved %d VIPs", loss.Node, loss.ReturnMoves)
		}
	}
}

func drained(ctx context.Context, t *testing.T, e *scenario.Env) {
	n, err := e.Busiest(0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Drain(ctx, n)
	t.Logf("%+v", d)
	if err != nil {
		t.Fatal(err)
	}
	if d.Error != "" {
		t.Errorf("kubectl drain: %s", d.Error)
	}
	if d.Probes.VIPs == 0 || d.Probes.Unanswered > 0 || d.Connects.Failed > 0 {
		t.Errorf("probes %+v, connections %+v, want all answered", d.Probes, d.Connects)
	}
	if d.Established.Requests == 0 || d.Established.Cut() > 0 {
		t.Errorf("established connections: %+v, want none to end", d.Established)
	}
	if d.Moves != d.Probes.VIPs || d.CordonMoves > 0 || d.ReturnMoves > 0 {
		t.Errorf("%d VIPs moved by the drain, %d by the cordon, %d by the return, want %d, 0 and 0", d.Moves, d.CordonMoves, d.ReturnMoves, d.Probes.VIPs)
	}
}

func traps(ctx context.Context, t *testing.T, e *scenario.Env) {
	for _, trap := range scenario.Traps() {
		result, err := e.Spring(ctx, trap, 8*time.Second, true)
		t.Logf("%+v", result)
		if err != nil {
			t.Fatalf("%s: %v", trap, err)
		}
		if result.Takeovers > 0 || len(result.Suspects) > 0 {
			t.Errorf("%s: %d takeovers and suspects %v while nothing was wrong, want none", trap, result.Takeovers, result.Suspects)
		}
	}
}

func endedAnnouncer(ctx context.Context, t *testing.T, e *scenario.Env) {
	n, err := e.Busiest(0)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := e.EndAnnouncer(ctx, n, unix.SIGKILL)
	t.Logf("%+v", ended)
	if err != nil {
		t.Fatal(err)
	}
	if ended.Silent > 0 || ended.StolenBack > 0 {
		t.Errorf("%d of %d VIPs were not answered for elsewhere, %d were stolen back", ended.Silent, ended.VIPs, ended.StolenBack)
	}
}

func pausedMachine(ctx context.Context, t *testing.T, e *scenario.Env) {
	n, err := e.Busiest(0)
	if err != nil {
		t.Fatal(err)
	}
	paused, err := e.PauseMachine(ctx, n, 3*time.Second)
	t.Logf("%+v", paused)
	if err != nil {
		t.Fatal(err)
	}
	if paused.Taken == 0 || paused.StolenBack > 0 {
		t.Errorf("%+v, want VIPs taken over and none stolen back", paused)
	}
}

func restarts(ctx context.Context, t *testing.T, e *scenario.Env) {
	r, err := e.Calm(ctx, "everything restarted", func() error {
		return errors.Join(e.RollAnnouncers(ctx), e.RestartController(), e.RestartScheduler())
	})
	t.Logf("%+v", r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Probes.VIPs == 0 || r.Probes.Unanswered > 0 || r.Moves > 0 {
		t.Errorf("probes %+v, %d moves, want every probe answered and no move", r.Probes, r.Moves)
	}
}

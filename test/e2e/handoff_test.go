package e2e

import (
	"context"
	"testing"
	"time"

	"evenkeel.io/evenkeel/test/scenario"
)

// load is what VIPs are moved under.
func load(connections, moves int) scenario.MoveOptions {
	return scenario.MoveOptions{Connections: connections, Moves: moves, Every: 100 * time.Millisecond, Quiet: time.Second}
}

// kept moves the VIP of a Service and wants all of its connections to live.
func kept(ctx context.Context, t *testing.T, e *scenario.Env, service string, o scenario.MoveOptions) {
	t.Helper()
	vips, err := e.Announced(ctx, service)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := e.MoveUnderLoad(ctx, vips[service][0], o)
	t.Logf("%+v", moved)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Moving.Requests == 0 || moved.Cut() > 0 {
		t.Errorf("%d moves cut %d connections: %+v, then %+v", moved.Moves, moved.Cut(), moved.Moving, moved.Late)
	}
	if moved.New == 0 || moved.Astray > 0 {
		t.Errorf("of %d new connections %d didn't go through the new owner alone", moved.New, moved.Astray)
	}
}

// keepsConnections moves a VIP around twice while connections through it are in use.
func keepsConnections(ctx context.Context, t *testing.T, e *scenario.Env) {
	kept(ctx, t, e, "web-000", load(50, 6))
}

// survivesRestarts restarts the new owner's announcer, and then all, while connections are handed on.
func survivesRestarts(ctx context.Context, t *testing.T, e *scenario.Env) {
	o := load(50, 2)
	o.Between = e.RestartInHandoff
	kept(ctx, t, e, "web-001", o)
}

// cutsConnections is the same for a Service that refuses handoff: the moves above would have reset connections without it.
func cutsConnections(ctx context.Context, t *testing.T, e *scenario.Env) {
	cut(ctx, t, e, "web-002")
}

// movesBesideIPTables gives the VIPs of a lab without standbys one for a while.
func movesBesideIPTables(ctx context.Context, t *testing.T, e *scenario.Env) {
	if err := e.SetStandbys(ctx, 1); err != nil {
		t.Fatal(err)
	}
	kept(ctx, t, e, unguarded[0], load(50, 6))
	cut(ctx, t, e, unguarded[1])
	if err := e.SetStandbys(ctx, 0); err != nil {
		t.Fatal(err)
	}
}

// cut moves the VIP of a Service after it has refused handoff, and wants connections to be reset.
func cut(ctx context.Context, t *testing.T, e *scenario.Env, service string) {
	t.Helper()
	vip, err := e.RefuseHandoff(ctx, service)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := e.MoveUnderLoad(ctx, vip, load(20, 1))
	t.Logf("%+v", moved)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Cut() == 0 {
		t.Error("no connection was reset, so that the chapters above show nothing")
	}
}

package e2e

import (
	"context"
	"testing"
	"time"

	"evenkeel.io/evenkeel/test/scenario"
)

// keepsConnections moves a VIP around twice while connections through it are in use.
func keepsConnections(ctx context.Context, t *testing.T, e *scenario.Env) {
	owners, err := e.Owners()
	if err != nil {
		t.Fatal(err)
	}
	for vip := range owners {
		moved, err := e.MoveUnderLoad(ctx, vip, scenario.MoveOptions{Connections: 50, Moves: 6, Every: 100 * time.Millisecond})
		t.Logf("%+v", moved)
		if err != nil {
			t.Fatal(err)
		}
		if moved.Moving.Requests == 0 || moved.Moving.Reset+moved.Moving.TimedOut+moved.Late.Reset+moved.Late.TimedOut > 0 {
			t.Errorf("in %d moves: %+v, then %+v, want all connections to live", moved.Moves, moved.Moving, moved.Late)
		}
		return
	}
	t.Fatal("no VIP is announced")
}

// cutsConnections is the same for a Service that refuses handoff: the moves above would have reset connections without it.
func cutsConnections(ctx context.Context, t *testing.T, e *scenario.Env) {
	const name = "web-001"
	vip, err := e.RefuseHandoff(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := e.MoveUnderLoad(ctx, vip, scenario.MoveOptions{Connections: 20, Moves: 1, Every: 100 * time.Millisecond})
	t.Logf("%+v", moved)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Moving.Reset+moved.Moving.TimedOut+moved.Late.Reset+moved.Late.TimedOut == 0 {
		t.Error("no connection was reset, so that the test above shows nothing")
	}
}

// survivesRestarts restarts the new owner's announcer, and then all, while connections are handed on.
func survivesRestarts(ctx context.Context, t *testing.T, e *scenario.Env) {
	owners, err := e.Owners()
	if err != nil {
		t.Fatal(err)
	}
	for vip, on := range owners {
		if on[0] == e.Nodes[0].Name() {
			continue // each chapter with a VIP of another node
		}
		moved, err := e.MoveUnderLoad(ctx, vip, scenario.MoveOptions{Connections: 50, Moves: 2, Every: 100 * time.Millisecond, Between: e.RestartInHandoff(vip)})
		t.Logf("%+v", moved)
		if err != nil {
			t.Fatal(err)
		}
		if moved.Moving.Requests == 0 || moved.Moving.Reset+moved.Moving.TimedOut+moved.Late.Reset+moved.Late.TimedOut > 0 {
			t.Errorf("with restarts after %d moves: %+v, then %+v, want all connections to live", moved.Moves, moved.Moving, moved.Late)
		}
		return
	}
	t.Fatal("no VIP is announced")
}

package e2e

import (
	"context"
	"testing"
	"time"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// The kernel counts lifetimes in seconds, and a busy test machine is given time: benchmarks measure, tests only tell whether.
const generous = 30 * time.Second

func restartedAnnouncer(ctx context.Context, t *testing.T, e *scenario.Env) {
	n := e.Nodes[0]
	held, err := scenario.Held(n)
	if err != nil {
		t.Fatal(err)
	}
	seen, err := e.Probing(ctx, held, 10*time.Millisecond, func() error {
		if err := n.Announcer.Kill(); err != nil {
			return err
		}
		if err := n.Announcer.Start(); err != nil {
			return err
		}
		time.Sleep(8 * time.Second) // longer than any lifetime that the killed process left
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen.VIPs == 0 || seen.Unanswered > 0 {
		t.Errorf("probes = %+v, want some VIPs and every probe answered", seen)
	}
}

func deadAnnouncer(ctx context.Context, t *testing.T, e *scenario.Env) {
	killed, err := e.KillForGood(ctx, e.Nodes[1])
	if err != nil {
		t.Fatal(err)
	}
	if killed.Addresses == 0 || killed.GoneMs > float64(generous.Milliseconds()) {
		t.Errorf("%+v, want some addresses, all gone", killed)
	}
	if _, err := e.Announced(ctx, unguarded...); err != nil {
		t.Errorf("after the announcer's return: %v", err)
	}
	waitHeld(ctx, t, e, killed.Addresses)
}

func waitHeld(ctx context.Context, t *testing.T, e *scenario.Env, want int) {
	t.Helper()
	deadline := time.Now().Add(generous)
	for {
		held, err := scenario.Held(e.Nodes[1])
		if err != nil {
			t.Fatal(err)
		}
		if len(held) >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %d VIPs after its announcer's return, want %d", e.Nodes[1].Name(), len(held), want)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func stoppedAnnouncer(ctx context.Context, t *testing.T, e *scenario.Env) {
	paused, err := e.StopPast(ctx, e.Nodes[2], 9*time.Second)
	if err != nil {
		t.Fatalf("%+v: %v", paused, err)
	}
	if paused.LeftAtPause > 0 {
		t.Errorf("%d of %d addresses outlived the stopped announcer", paused.LeftAtPause, paused.Held)
	}
	if paused.TakenBack {
		t.Error("the announcer bound an address that another machine had taken meanwhile")
	}
	if _, err := e.Announced(ctx, unguarded...); err != nil {
		t.Errorf("after the other machine had gone: %v", err)
	}
}

func apiOutage(ctx context.Context, t *testing.T, e *scenario.Env) {
	vips, err := e.Announced(ctx, web...)
	if err != nil {
		t.Fatal(err)
	}
	outage, err := e.APIOutage(ctx, scenario.Flatten(vips), 10*time.Second, 5*time.Second, true)
	if err != nil {
		t.Fatal(err)
	}
	if outage.Moves > 0 || outage.Unanswered.Unanswered > 0 || outage.Restarts != len(e.Nodes) {
		t.Errorf("%+v, want no moves and every probe answered", outage)
	}
	// Controller and scheduler wait for their leases to run out before they work again: later chapters count on them.
	after := []string{"after-outage"}
	if err := e.CreateAll(ctx, after, lab.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.DeleteAll(ctx, after); err != nil {
		t.Fatal(err)
	}
}

func flushed(ctx context.Context, t *testing.T, e *scenario.Env) {
	for _, flush := range []func() (scenario.Flushed, error){
		func() (scenario.Flushed, error) { return e.FlushVIPs(ctx, e.Nodes[0]) },
		func() (scenario.Flushed, error) { return e.FlushOwn(ctx, e.Nodes[0]) },
		func() (scenario.Flushed, error) { return e.FlushAll(ctx, e.Nodes[0], 200*time.Millisecond) },
	} {
		result, err := flush()
		t.Logf("%+v", result)
		if err != nil {
			t.Errorf("%s: %v", result.Case, err)
			continue
		}
		if result.VIPs == 0 || !result.OwnFirst || result.Moves > 0 {
			t.Errorf("%+v, want some VIPs, all back behind the node's own address, without a move", result)
		}
	}
}

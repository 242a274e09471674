package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// TestEvenOut tells how VIPs become even again, and how people move them.
func TestEvenOut(t *testing.T) {
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
	if err := e.CreateAll(ctx, web[:12], lab.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Announced(ctx, web[:12]...); err != nil {
		t.Fatal(err)
	}
	for _, chapter := range []struct {
		name string
		tell func(context.Context, *testing.T, *scenario.Env)
	}{
		{"a drained node has its share back within a minute, and nobody notices", evensOut},
		{"kubectl evenkeel moves, evacuates and evens out", ordered},
	} {
		if !t.Run(chapter.name, func(t *testing.T) { chapter.tell(ctx, t, e) }) {
			t.Log(logsOf(e))
		}
	}
}

// evensOut drains a node and uncordons it: VIPs are even again before a minute has passed, and no connection has noticed.
func evensOut(ctx context.Context, t *testing.T, e *scenario.Env) {
	if err := e.SetRebalance(ctx, scenario.QuickPolicy()); err != nil {
		t.Fatal(err)
	}
	drained, returned, err := e.DrainAndReturn(ctx, e.Nodes[0])
	t.Logf("%+v\n%+v", drained, returned)
	if err != nil {
		t.Fatal(err)
	}
	for _, evened := range []scenario.Evened{drained, returned} {
		if !evened.Even || evened.After.MaxMin > 1 {
			t.Errorf("%s: VIPs per node: %v", evened.What, evened.After.PerNode)
		}
		if evened.Probes.Unanswered > 0 || evened.Connects.Failed > 0 || evened.Established.Cut() > 0 {
			t.Errorf("%s: %d pings unanswered, %d connections failed, %d cut", evened.What, evened.Probes.Unanswered, evened.Connects.Failed, evened.Established.Cut())
		}
		if evened.Moves > evened.Least {
			t.Errorf("%s: %d moves, %d would have done", evened.What, evened.Moves, evened.Least)
		}
	}
	if returned.Seconds > 60 {
		t.Errorf("it took %.0f s", returned.Seconds)
	}
	if err := e.SetRebalance(ctx, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceOff}); err != nil {
		t.Fatal(err)
	}
}

// tool runs kubectl-evenkeel against the lab.
func tool(ctx context.Context, t *testing.T, e *scenario.Env, args ...string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "bin", "kubectl-evenkeel"), append([]string{"--kubeconfig=" + e.Kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl evenkeel %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// ordered asks for moves by kubectl-evenkeel: what a dry run shows, one move there and back, an evacuation, and evening out by hand.
func ordered(ctx context.Context, t *testing.T, e *scenario.Env) {
	if out := tool(ctx, t, e, "status"); !strings.Contains(out, e.Nodes[0].Name()) {
		t.Errorf("status:\n%s", out)
	}
	vips, err := e.Announced(ctx, web[0])
	if err != nil {
		t.Fatal(err)
	}
	vip := vips[web[0]][0]
	to := ""
	placements, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range e.Nodes {
		if n.Name() != placements[placeholder.VIPName(vip)] {
			to = n.Name()
		}
	}
	tool(ctx, t, e, "move", vip.String(), "--to", to)
	eventually(ctx, t, func(ctx context.Context) error {
		found, err := e.ListVIPs(ctx)
		moved := found[placeholder.VIPName(vip)]
		if err != nil || moved.Status.Node != to || moved.Spec.Move != nil || moved.Status.LastMove == nil || moved.Status.LastMove.Reason != v1alpha1.ReasonUser {
			return fmt.Errorf("VIP %s: wish %+v, status %+v: %w", moved.Name, moved.Spec.Move, moved.Status, err)
		}
		return nil
	})

	if err := e.SetRebalance(ctx, manual()); err != nil {
		t.Fatal(err)
	}
	first := e.Nodes[0].Name()
	tool(ctx, t, e, "evacuate", first)
	eventually(ctx, t, func(ctx context.Context) error {
		s, err := e.SpreadOf(ctx)
		if err != nil || s.PerNode[0] > 0 {
			return fmt.Errorf("VIPs per node %v, want none on the first: %w", s.PerNode, err)
		}
		return nil
	})
	tool(ctx, t, e, "evacuate", first, "--undo")
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
	if out := tool(ctx, t, e, "rebalance", "--dry-run"); !strings.Contains(out, first) || strings.Contains(out, "Nothing would be moved") || !strings.Contains(out, "held by Manual") {
		t.Errorf("a dry run with %s empty:\n%s", first, out)
	}
	if s, err := e.SpreadOf(ctx); err != nil || s.PerNode[0] != 0 {
		t.Errorf("a dry run has moved something: %+v, %v", s, err)
	}
	tool(ctx, t, e, "rebalance", "--now")
	eventually(ctx, t, func(ctx context.Context) error {
		s, err := e.SpreadOf(ctx)
		if err != nil || s.MaxMin > 1 {
			return fmt.Errorf("VIPs per node %v: %w", s.PerNode, err)
		}
		return nil
	})
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
	if err := e.SetRebalance(ctx, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceOff}); err != nil {
		t.Fatal(err)
	}
}

// manual waits to be asked.
func manual() *v1alpha1.RebalancePolicy {
	p := scenario.QuickPolicy()
	p.Mode = v1alpha1.RebalanceManual
	return p
}

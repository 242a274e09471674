package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// TestCluster tells one story on one cluster: starting one takes seconds of two cores, so the chapters share it. Each leaves
// the cluster as the next one expects it: 30 Services "web-…" on three nodes.
func TestCluster(t *testing.T) {
	ctx := t.Context()
	e, err := scenario.Start(ctx, lab.Options{
		Nodes: 3, Progress: os.Stderr,
		// A test needn't wait for the time that is meant for pulling an image.
		ComponentArgs: map[string][]string{"evenkeel-announcer": {"--handover-lifetime=15s"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	chapters := []struct {
		name string
		tell func(context.Context, *testing.T, *scenario.Env)
	}{
		{"30 Services are spread 10/10/10, also after ten are replaced", spread},
		{"every VIP has one owner and serves from everywhere, and nothing of the node is reachable through it", reach},
		{"a dual stack Service gets both families on one node", dualStack},
		{"a deleted placeholder moves without a lost probe", deletedPlaceholder},
		{"an announcer that is killed and restarted drops nothing", restartedAnnouncer},
		{"an API outage with restarts moves and drops nothing", apiOutage},
		{"addresses that others delete come back behind the node's own", flushed},
		{"a foreign owner is found, named, and waited for", foreignOwner},
		{"an address that can't be given is explained and given once it can be", pending},
		{"a Service with externalTrafficPolicy Local is announced where its endpoint is", localPolicy},
		{"a VIP of policy Local follows its endpoint and cuts nobody off", followsEndpoints},
		{"a VIP of policy Local that nobody serves is withdrawn, and comes back with an endpoint", withdrawnWithoutEndpoints},
		{"an excluded node is left, and nothing goes back when it no longer is", followsLabels},
		{"a placeholder written by hand is announced", handWritten},
		serviceChapters[0], serviceChapters[1], serviceChapters[2],
		{"a placeholder written by hand is guarded if it asks for that, and its successor takes over", guardedByHand},
		{"a Service is announced where it wants to be, and says so where it can't be", selectsNode},
		{"the VIPs of a hard group are on different nodes, each with its standby", hardGroup},
		{"a changed status is put right", changedStatus},
		{"what a deleted Service had is released", released},
		{"uninstalling leaves nothing behind and no Service harmed", uninstalled},
	}
	for _, chapter := range chapters {
		if !t.Run(chapter.name, func(t *testing.T) { chapter.tell(ctx, t, e) }) {
			t.Log(logsOf(e))
		}
	}
}

// logsOf collects the ends of our programs' logs.
func logsOf(e *scenario.Env) string {
	var b strings.Builder
	programs := []*lab.Process{e.Scheduler, e.Controller}
	for _, n := range e.Nodes {
		programs = append(programs, n.Announcer)
	}
	for _, p := range programs {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.Name(), p.Tail())
	}
	return b.String()
}

var web = scenario.Names("web", 30)

func spread(ctx context.Context, t *testing.T, e *scenario.Env) {
	if err := e.CreateAll(ctx, web, lab.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	even(ctx, t, e)
	replaced := append(slices.Clone(web[3:8]), web[20:25]...)
	if err := e.DeleteAll(ctx, replaced); err != nil {
		t.Fatal(err)
	}
	if err := e.CreateAll(ctx, replaced, lab.ServiceOptions{}); err != nil {
		t.Fatal(err)
	}
	even(ctx, t, e)
}

func even(ctx context.Context, t *testing.T, e *scenario.Env) {
	t.Helper()
	s, err := e.SpreadOf(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.PerNode, []int{10, 10, 10}) {
		t.Errorf("VIPs per node = %v, want 10 each", s.PerNode)
	}
}

func reach(ctx context.Context, t *testing.T, e *scenario.Env) {
	var some []string // the benchmark asks all of them
	for i := 0; i < len(web); i += 5 {
		some = append(some, web[i])
	}
	reachable(ctx, t, e, some)
}

// reachable asks through the VIPs of some Services from everywhere.
func reachable(ctx context.Context, t *testing.T, e *scenario.Env, services []string) {
	t.Helper()
	vips, err := e.Announced(ctx, services...)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range e.Nodes {
		stop, err := e.ListenAsNode(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	placements, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range services {
		checkReach(ctx, t, e, vips[name][0], placements[placeholder.VIPName(vips[name][0])])
	}
}

func checkReach(ctx context.Context, t *testing.T, e *scenario.Env, vip netip.Addr, holder string) {
	t.Helper()
	node, err := e.Node(holder)
	if err != nil {
		t.Fatalf("%s: %v", vip, err)
	}
	r, err := e.ReachOf(ctx, vip, node)
	if err != nil {
		t.Error(err)
		return
	}
	if len(r.Owners) != 1 || r.Owners[0] != node.MAC.String() {
		t.Errorf("%s is answered for by %v, want %s (%s) alone", vip, r.Owners, node.MAC, holder)
	}
	if len(r.OpenPorts) > 0 {
		t.Errorf("ports %v of %s are open through %s", r.OpenPorts, holder, vip)
	}
	if len(r.OwnPorts) != 2 {
		t.Errorf("only ports %v of %s are open on its own address: the test would show nothing", r.OwnPorts, holder)
	}
}

func dualStack(ctx context.Context, t *testing.T, e *scenario.Env) {
	o := scenario.Options(lab.ServiceOptions{Families: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}})
	if _, err := e.CreateService(ctx, "dual", o); err != nil {
		t.Fatal(err)
	}
	vips, err := e.Announced(ctx, "dual")
	if err != nil {
		t.Fatal(err)
	}
	pair := vips["dual"]
	if len(pair) != 2 || !pair[0].Is4() || !pair[1].Is6() {
		t.Fatalf("addresses = %v, want an IPv4 and an IPv6 one", pair)
	}
	placements, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	holder, err := e.Node(placements[placeholder.VIPName(pair[0])])
	if err != nil {
		t.Fatal(err)
	}
	stop, err := e.ListenAsNode(ctx, holder)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, vip := range pair {
		checkReach(ctx, t, e, vip, holder.Name())
	}
	if err := e.DeleteAll(ctx, []string{"dual"}); err != nil {
		t.Fatal(err)
	}
}

func deletedPlaceholder(ctx context.Context, t *testing.T, e *scenario.Env) {
	vips, err := e.Announced(ctx, web[0])
	if err != nil {
		t.Fatal(err)
	}
	vip := vips[web[0]][0]
	pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: placeholder.LabelVIP + "=" + placeholder.VIPName(vip)})
	active := slices.IndexFunc(pods.Items, func(pod corev1.Pod) bool { return placeholder.RoleOf(&pod) == placeholder.Active })
	if err != nil || active < 0 {
		t.Fatalf("placeholders of %s: %d, none of them active, %v", vip, len(pods.Items), err)
	}
	seen, err := e.Probing(ctx, []netip.Addr{vip}, 10*time.Millisecond, func() error {
		if err := e.Kube.CoreV1().Pods(lab.Namespace).Delete(ctx, pods.Items[active].Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		waitCtx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		return lab.Eventually(waitCtx, func(ctx context.Context) error {
			owners, err := e.Client.WhoHas(ctx, vip, 100*time.Millisecond)
			if err != nil {
				return err
			}
			placements, err := e.Placements(ctx)
			if err != nil {
				return err
			}
			node, err := e.Node(placements[placeholder.VIPName(vip)])
			if err != nil {
				return err
			}
			if len(owners) != 1 || owners[0].MAC.String() != node.MAC.String() {
				return fmt.Errorf("%v answer for %s, want %s", owners, vip, node.MAC)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen.Unanswered > 0 {
		t.Errorf("%d of %d probes were not answered, longest gap %.0f ms", seen.Unanswered, seen.Sent, seen.LongestGapMs)
	}
}

package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// followsEndpoints lets the one endpoint of a Service with policy Local go around the nodes under load. The times are the
// benchmark's to judge.
func followsEndpoints(ctx context.Context, t *testing.T, e *scenario.Env) {
	for _, standbys := range []int{1, 0} {
		all, err := e.FollowAll(ctx, fmt.Sprintf("follows-%d", standbys), standbys, 3, 20)
		t.Logf("%+v", all)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all.Moves {
			if m.Unconnected+m.Unanswered > 0 {
				t.Errorf("of %d connections %d failed and %d had no answer", m.Requests, m.Unconnected, m.Unanswered)
			}
		}
		if all.Streams.Requests == 0 || all.Streams.Cut() > 0 {
			t.Errorf("long-lived connections: %+v", all.Streams)
		}
	}
}

// withdrawnWithoutEndpoints takes a Service's last endpoint away: nobody answers for its VIP until there is one again.
func withdrawnWithoutEndpoints(ctx context.Context, t *testing.T, e *scenario.Env) {
	vip, err := e.CreateLocal(ctx, "withdrawn", 1, e.Nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.PutEndpoints(ctx, "withdrawn"); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, func(ctx context.Context) error {
		vips, err := e.ListVIPs(ctx)
		if err != nil {
			return err
		}
		c := meta.FindStatusCondition(vips[placeholder.VIPName(vip)].Status.Conditions, v1alpha1.VIPAnnounced)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonNoEndpoints {
			return fmt.Errorf("condition Announced of %s is %+v", vip, c)
		}
		return nil
	})
	eventually(ctx, t, eventSays(e, metav1.NamespaceDefault, "withdrawn", "No pod of the Service is ready"))
	if _, err := e.PutEndpoints(ctx, "withdrawn", scenario.Endpoint{Node: e.Nodes[1]}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Announced(ctx, "withdrawn"); err != nil {
		t.Fatal(err)
	}
	withdrawn, err := e.Withdraw(ctx, "withdrawn", vip, e.Nodes[2])
	t.Logf("%+v", withdrawn)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.DeleteAll(ctx, []string{"withdrawn"}); err != nil {
		t.Fatal(err)
	}
}

// followsLabels excludes the node that announces a VIP: the VIP leaves, and nothing comes back when the label goes.
func followsLabels(ctx context.Context, t *testing.T, e *scenario.Env) {
	if _, err := e.CreateService(ctx, "labelled", scenario.Options(lab.ServiceOptions{})); err != nil {
		t.Fatal(err)
	}
	vips, err := e.Announced(ctx, "labelled")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
	name := placeholder.VIPName(vips["labelled"][0])
	before, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Kubectl(ctx, "label", "node", before[name], corev1.LabelNodeExcludeBalancers+"="); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, func(ctx context.Context) error {
		now, err := e.Placements(ctx)
		if err == nil && now[name] == before[name] {
			err = fmt.Errorf("%s is still on %s", name, before[name])
		}
		return err
	})
	if _, err := e.Kubectl(ctx, "label", "node", before[name], corev1.LabelNodeExcludeBalancers+"-"); err != nil {
		t.Fatal(err)
	}
	if err := e.Whole(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if after[name] == before[name] {
		t.Errorf("%s went back to %s", name, before[name])
	}
	if err := e.DeleteAll(ctx, []string{"labelled"}); err != nil {
		t.Fatal(err)
	}
}

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// wish replaces a Service's wishes.
func wish(ctx context.Context, t *testing.T, e *scenario.Env, service, annotations string) {
	t.Helper()
	patch := []byte(`{"metadata":{"annotations":` + annotations + `}}`)
	if _, err := e.Kube.CoreV1().Services("default").Patch(ctx, service, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// holderOf returns the node of a VIP's active placeholder.
func holderOf(ctx context.Context, t *testing.T, e *scenario.Env, vip netip.Addr) string {
	t.Helper()
	placements, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return placements[placeholder.VIPName(vip)]
}

func selectsNode(ctx context.Context, t *testing.T, e *scenario.Env) {
	name := e.Nodes[1].Name()
	o := scenario.Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.AnnotationNodeSelector: corev1.LabelHostname + "=" + name}})
	if _, err := e.CreateService(ctx, "selects", o); err != nil {
		t.Fatal(err)
	}
	vips, err := e.Announced(ctx, "selects")
	if err != nil {
		t.Fatal(err)
	}
	vip := vips["selects"][0]
	if holder := holderOf(ctx, t, e, vip); holder != name {
		t.Errorf("the VIP is on %q, its Service selects %s", holder, name)
	}
	other := e.Nodes[2].Name()
	wish(ctx, t, e, "selects", fmt.Sprintf("{%q:%q}", placeholder.AnnotationNodeSelector, corev1.LabelHostname+" notin ("+name+"),"+corev1.LabelHostname+"="+other))
	eventually(ctx, t, func(ctx context.Context) error {
		all, err := e.ListVIPs(ctx)
		if err != nil {
			return err
		}
		if status := all[placeholder.VIPName(vip)].Status; status.Node != other {
			return fmt.Errorf("the VIP is on %q, its Service selects %s", status.Node, other)
		}
		return nil
	})
	wish(ctx, t, e, "selects", fmt.Sprintf("{%q:%q}", placeholder.AnnotationNodeSelector, "no-such-label"))
	eventually(ctx, t, eventSays(e, "default", "selects", "stays on "+other))
	o.Annotations = map[string]string{placeholder.AnnotationNodeSelector: "no-such-label"}
	if _, err := e.CreateService(ctx, "impossible", o); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, eventSays(e, "default", "impossible", "didn't match Pod's node affinity/selector", "It is placed by itself"))
	if err := e.DeleteAll(ctx, []string{"selects", "impossible"}); err != nil {
		t.Fatal(err)
	}
}

func hardGroup(ctx context.Context, t *testing.T, e *scenario.Env) {
	o := scenario.Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.LabelSpreadGroup: "dns", placeholder.AnnotationSpread: placeholder.SpreadHard}})
	names := scenario.Names("dns", len(e.Nodes))
	for _, name := range names {
		if _, err := e.CreateService(ctx, name, o); err != nil {
			t.Fatal(err)
		}
	}
	vips, err := e.Announced(ctx, names...)
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	for name, addrs := range vips {
		holder := holderOf(ctx, t, e, addrs[0])
		if other, taken := held[holder]; taken {
			t.Errorf("%s and %s are both on %s", name, other, holder)
		}
		held[holder] = name
	}
	eventually(ctx, t, func(ctx context.Context) error { // each has its standby all the same
		all, err := e.ListVIPs(ctx)
		if err != nil {
			return err
		}
		for _, addrs := range vips {
			if status := all[placeholder.VIPName(addrs[0])].Status; len(status.StandbyNodes) != 1 {
				return fmt.Errorf("%s has the standbys %q", addrs[0], status.StandbyNodes)
			}
		}
		return nil
	})
	if _, err := e.CreateService(ctx, "dns-more", o); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, eventSays(e, "default", "dns-more", "anti-affinity"))
	if err := e.DeleteAll(ctx, append(names, "dns-more")); err != nil {
		t.Fatal(err)
	}
}

func guardedByHand(ctx context.Context, t *testing.T, e *scenario.Env) {
	vip := netip.MustParseAddr("192.0.2.98")
	pods := e.Kube.CoreV1().Pods(lab.Namespace)
	create := func(name string) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: lab.Namespace, Name: name,
				Labels: map[string]string{placeholder.LabelVIP: placeholder.VIPName(vip)},
				Annotations: map[string]string{placeholder.AnnotationAddresses: vip.String(), placeholder.AnnotationPorts: "tcp/22",
					placeholder.AnnotationStandbys: "1"},
			},
			Spec: corev1.PodSpec{
				SchedulerName: placeholder.SchedulerName, HostNetwork: true,
				ReadinessGates: []corev1.PodReadinessGate{{ConditionType: placeholder.ConditionReady}},
				Containers:     []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10"}},
			},
		}
		if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	is := func(name string, reason string) {
		t.Helper()
		eventually(ctx, t, func(ctx context.Context) error {
			pod, err := pods.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if c := placeholder.ConditionOf(pod, placeholder.ConditionReady); c == nil || c.Reason != reason {
				return fmt.Errorf("%s reports %+v, want %s", name, c, reason)
			}
			return nil
		})
	}
	guard := placeholder.VIPName(vip) + "-guard-1"
	create("by-hand-1")
	is("by-hand-1", placeholder.ReasonAnnouncing)
	is(guard, placeholder.ReasonGuarding)
	create("by-hand-2") // as a Deployment does in a rollout
	is("by-hand-2", placeholder.ReasonAnnouncing)
	if err := pods.Delete(ctx, "by-hand-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	is(guard, placeholder.ReasonGuarding)
	if err := pods.Delete(ctx, "by-hand-2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, func(ctx context.Context) error {
		if _, err := pods.Get(ctx, guard, metav1.GetOptions{}); err == nil {
			return fmt.Errorf("%s is still there", guard)
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := lab.Eventually(ctx, func(ctx context.Context) error {
		if opens(ctx, e, vip, 22) {
			return fmt.Errorf("%s still answers", vip)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

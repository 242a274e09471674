package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

// eventually fails the test when check doesn't succeed in a generous time.
func eventually(ctx context.Context, t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if err := lab.Eventually(ctx, check); err != nil {
		t.Fatal(err)
	}
}

// eventSays returns nil once an event about an object has a note with all of the words.
func eventSays(e *scenario.Env, namespace, name string, words ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		events, err := e.Kube.EventsV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=" + name})
		if err != nil {
			return err
		}
		var notes []string
		for _, event := range events.Items {
			if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(event.Note, word) }) {
				return nil
			}
			notes = append(notes, event.Reason+": "+event.Note)
		}
		return fmt.Errorf("no event of %s/%s says %q; there are %q", namespace, name, words, notes)
	}
}

func foreignOwner(ctx context.Context, t *testing.T, e *scenario.Env) {
	for i, delay := range []time.Duration{0, 300 * time.Millisecond} {
		name := fmt.Sprintf("foreign-%d", i)
		found, err := e.ForeignAnswers(ctx, name, netip.AddrFrom4([4]byte{192, 0, 2, byte(90 + i)}), delay, true)
		if err != nil {
			t.Fatal(err)
		}
		if !found.Found || found.Bound || !found.Resolved {
			t.Errorf("%+v, want it found, not held, and announced once the machine was silent", found)
		}
		if err := e.DeleteAll(ctx, []string{name}); err != nil {
			t.Fatal(err)
		}
	}
}

func pending(ctx context.Context, t *testing.T, e *scenario.Env) {
	o := scenario.Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.AnnotationRequested: "192.0.2.200"}})
	if _, err := e.CreateService(ctx, "outside", o); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, eventSays(e, "default", "outside", "192.0.2.200"))
	if err := e.CreatePool(ctx, "extra", "192.0.2.200-192.0.2.201"); err != nil {
		t.Fatal(err)
	}
	vips, err := e.Announced(ctx, "outside")
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddr("192.0.2.200"); vips["outside"][0] != want {
		t.Errorf("address = %v, want %s", vips["outside"], want)
	}
	if err := e.DeleteAll(ctx, []string{"outside"}); err != nil {
		t.Fatal(err)
	}
}

func localPolicy(ctx context.Context, t *testing.T, e *scenario.Env) {
	if err := e.CreateBackends(ctx, "single", e.Nodes[2]); err != nil {
		t.Fatal(err)
	}
	o := scenario.Options(lab.ServiceOptions{Local: true})
	o.App = "single"
	if _, err := e.CreateService(ctx, "local", o); err != nil {
		t.Fatal(err)
	}
	vips, err := e.Announced(ctx, "local")
	if err != nil {
		t.Fatal(err)
	}
	vip := vips["local"][0]
	placements, err := e.Placements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if holder := placements[placeholder.VIPName(vip)]; holder != e.Nodes[2].Name() {
		t.Errorf("the VIP is on %q, want the node of its only endpoint, %s", holder, e.Nodes[2].Name())
	}
	// The announcer follows the scheduler; kube-proxy takes up to its sync period to know the endpoint, and drops until then.
	eventually(ctx, t, func(ctx context.Context) error {
		response, err := e.Client.Get(ctx, lab.URL(vip, 80))
		if err == nil && (response.Body != e.Nodes[2].Name() || response.Client != e.Client.V4.String()) {
			t.Fatalf("%q answered and saw client %s, want %s and the client's own address %s", response.Body, response.Client, e.Nodes[2].Name(), e.Client.V4)
		}
		return err
	})
	if err := e.DeleteAll(ctx, []string{"local"}); err != nil {
		t.Fatal(err)
	}
}

func handWritten(ctx context.Context, t *testing.T, e *scenario.Env) {
	vip := netip.MustParseAddr("192.0.2.99")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: lab.Namespace, Name: "by-hand",
			Labels:      map[string]string{placeholder.LabelVIP: placeholder.VIPName(vip)},
			Annotations: map[string]string{placeholder.AnnotationAddresses: vip.String(), placeholder.AnnotationPorts: "tcp/22"},
		},
		Spec: corev1.PodSpec{
			SchedulerName:  placeholder.SchedulerName,
			HostNetwork:    true,
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: placeholder.ConditionReady}},
			Containers:     []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10"}},
		},
	}
	if _, err := e.Kube.CoreV1().Pods(lab.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var holder string
	eventually(ctx, t, func(ctx context.Context) error {
		pod, err := e.Kube.CoreV1().Pods(lab.Namespace).Get(ctx, "by-hand", metav1.GetOptions{})
		if err != nil {
			return err
		}
		holder = pod.Spec.NodeName
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("conditions = %+v", pod.Status.Conditions)
	})
	node, err := e.Node(holder)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := e.ListenAsNode(ctx, node)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	// It named port 22, which the node itself serves, and not 10250.
	if !opens(ctx, e, vip, 22) {
		t.Error("the port that the placeholder names is closed")
	}
	if opens(ctx, e, vip, 10250) {
		t.Error("a port that the placeholder doesn't name is open")
	}
	o := scenario.Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.AnnotationRequested: vip.String()}})
	if _, err := e.CreateService(ctx, "wants-by-hand", o); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, eventSays(e, "default", "wants-by-hand", vip.String(), "by-hand"))
	if err := e.Kube.CoreV1().Pods(lab.Namespace).Delete(ctx, "by-hand", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Announced(ctx, "wants-by-hand"); err != nil {
		t.Errorf("after the placeholder by hand was gone: %v", err)
	}
	if err := e.DeleteAll(ctx, []string{"wants-by-hand"}); err != nil {
		t.Fatal(err)
	}
}

func opens(ctx context.Context, e *scenario.Env, addr netip.Addr, port uint16) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := e.Client.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func changedStatus(ctx context.Context, t *testing.T, e *scenario.Env) {
	vips, err := e.Announced(ctx, web[0])
	if err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.99"}]}}}`)
	if _, err := e.Kube.CoreV1().Services("default").Patch(ctx, web[0], types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	eventually(ctx, t, func(ctx context.Context) error {
		service, err := e.Kube.CoreV1().Services("default").Get(ctx, web[0], metav1.GetOptions{})
		if err != nil {
			return err
		}
		ingress := service.Status.LoadBalancer.Ingress
		if len(ingress) != 1 || ingress[0].IP != vips[web[0]][0].String() || ingress[0].IPMode == nil || *ingress[0].IPMode != corev1.LoadBalancerIPModeVIP {
			return fmt.Errorf("ingress = %+v, want %s in mode VIP", ingress, vips[web[0]][0])
		}
		return nil
	})
}

// released covers deletion, a change of type while the controller is away, and the quarantine of addresses.
func released(ctx context.Context, t *testing.T, e *scenario.Env) {
	vips, err := e.Announced(ctx, web[1], web[2])
	if err != nil {
		t.Fatal(err)
	}
	deleted, changed := vips[web[1]][0], vips[web[2]][0]
	if err := e.Controller.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := e.Kube.CoreV1().Services("default").Delete(ctx, web[1], metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"spec":{"type":"ClusterIP","loadBalancerClass":null,"externalTrafficPolicy":null,"allocateLoadBalancerNodePorts":null}}`)
	if _, err := e.Kube.CoreV1().Services("default").Patch(ctx, web[2], types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Controller.Start(); err != nil {
		t.Fatal(err)
	}
	for _, vip := range []netip.Addr{deleted, changed} {
		eventually(ctx, t, func(ctx context.Context) error {
			if owners, err := e.Client.WhoHas(ctx, vip, 100*time.Millisecond); err != nil || len(owners) > 0 {
				return fmt.Errorf("%v still answer for %s: %w", owners, vip, err)
			}
			return nil
		})
		eventually(ctx, t, func(ctx context.Context) error {
			all, err := e.ListVIPs(ctx)
			if _, ok := all[placeholder.VIPName(vip)]; ok || err != nil {
				return fmt.Errorf("the VIP object of %s is still there: %w", vip, err)
			}
			return nil
		})
	}
	service, err := e.Kube.CoreV1().Services("default").Get(ctx, web[2], metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(service.Status.LoadBalancer.Ingress) > 0 {
		t.Errorf("a Service that is no LoadBalancer any more still shows %+v", service.Status.LoadBalancer.Ingress)
	}
}

func uninstalled(ctx context.Context, t *testing.T, e *scenario.Env) {
	result, err := e.Uninstall(ctx, "all at once", web[0], func(ctx context.Context) error {
		return e.DeleteManifests(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.ClusterIPsWork || result.FinalizersLeft > 0 {
		t.Errorf("%+v, want Services to work by their ClusterIPs, without finalizers", result)
	}
}

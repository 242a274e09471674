package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// tool runs commands against a cluster that the test makes.
type tool struct {
	client client.Client
}

func (u tool) run(t *testing.T, args ...string) (out, warnings string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newCommand(&options{
		streams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr},
		clock:   clocktesting.NewFakePassiveClock(now),
		connect: func() (client.Client, error) { return u.client, nil },
	})
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func clusterOf(t *testing.T, funcs interceptor.Funcs, objects ...client.Object) client.Client {
	t.Helper()
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithInterceptorFuncs(funcs).Build()
}

// three is a cluster of three nodes; two VIPs are on the first one, one on the second one, the third one has just come back.
func three(t *testing.T, more ...client.Object) tool {
	t.Helper()
	objects := []client.Object{
		node("n1", 0), vipNode("n1"), node("n2", 0), vipNode("n2"), node("n3", time.Minute), vipNode("n3"),
		vip("192.0.2.10", "n1", "shop/web"), pod("192.0.2.10", "n1", placeholder.Active), pod("192.0.2.10", "n2", placeholder.Standby), service("shop", "web", "never"),
		vip("192.0.2.11", "n1", "shop/api"), pod("192.0.2.11", "n1", placeholder.Active), pod("192.0.2.11", "n2", placeholder.Standby), service("shop", "api", ""),
		vip("192.0.2.12", "n2", "shop/db"), pod("192.0.2.12", "n2", placeholder.Active), pod("192.0.2.12", "n1", placeholder.Standby), service("shop", "db", ""),
		pool("office", nil),
	}
	return tool{client: clusterOf(t, interceptor.Funcs{}, append(objects, more...)...)}
}

func node(name string, readyFor time.Duration) *corev1.Node {
	since := now.Add(-24 * time.Hour)
	ready := since
	if readyFor > 0 {
		ready = now.Add(-readyFor)
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(since)},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(ready)},
		}},
	}
}

func vipNode(name string) *v1alpha1.VIPNode {
	return &v1alpha1.VIPNode{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-24 * time.Hour))},
		Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
			{Name: "eth0", MAC: "02:00:00:00:00:01", Addresses: []string{"192.0.2.101/24"}, Carrier: true},
		}},
	}
}

func vip(address, on, service string) *v1alpha1.VIP {
	namespace, name, _ := strings.Cut(service, "/")
	return &v1alpha1.VIP{
		ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(address, ".", "-")},
		Spec:       v1alpha1.VIPSpec{Addresses: []string{address}, Pool: "office", Services: []v1alpha1.ServiceReference{{Namespace: namespace, Name: name}}},
		Status:     v1alpha1.VIPStatus{Node: on},
	}
}

func pod(address, on string, role placeholder.Role) *corev1.Pod {
	vip := strings.ReplaceAll(address, ".", "-")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: vip + "-" + string(role), Namespace: placeholder.DefaultNamespace,
			Labels:      map[string]string{placeholder.LabelVIP: vip, placeholder.LabelRole: string(role)},
			Annotations: map[string]string{placeholder.AnnotationAddresses: address},
		},
		Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName, NodeName: on},
	}
}

func service(namespace, name, rebalance string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if rebalance != "" {
		s.Annotations = map[string]string{placeholder.AnnotationRebalance: rebalance}
	}
	return s
}

func pool(name string, policy *v1alpha1.RebalancePolicy) *v1alpha1.VIPPool {
	return &v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.VIPPoolSpec{Addresses: []string{"192.0.2.0/24"}, Rebalance: policy}}
}

// contains fails unless text has all the parts, in order.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("%q is not (or not in this place) in:\n%s", part, text)
			return
		}
		rest = after
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	noMatch := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return &meta.NoKindMatchError{GroupKind: schema.GroupKind{Group: "evenkeel.io", Kind: "VIP"}}
	}}
	refused := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return fmt.Errorf("listing: %w", syscall.ECONNREFUSED)
	}}
	forbidden := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return apierrors.NewForbidden(schema.GroupResource{Group: "evenkeel.io", Resource: "vips"}, "", errors.New("no"))
	}}
	tests := []struct {
		name string
		tool tool
		args []string
		want string
	}{
		{"Evenkeel isn't installed", tool{client: clusterOf(t, noMatch)}, []string{"status"}, "Is Evenkeel installed there"},
		{"nobody answers", tool{client: clusterOf(t, refused)}, []string{"status"}, "kubectl config current-context"},
		{"a command that doesn't exist", three(t), []string{"statu"}, "unknown command"},
		{"no right", tool{client: clusterOf(t, forbidden)}, []string{"status"}, "Ask for the right"},
		{"an unknown output", three(t), []string{"status", "-o", "yaml"}, "neither empty nor wide"},
		{"no node to evacuate", three(t), []string{"evacuate"}, "one NODE is wanted, 0 are given"},
		{"an unknown node to evacuate", three(t), []string{"evacuate", "n9"}, "kubectl get nodes"},
		{"no target of a move", three(t), []string{"move", "192.0.2.10"}, "--to is missing"},
		{"an unknown VIP", three(t), []string{"move", "192.0.2.99", "--to", "n2"}, "kubectl get vips"},
		{"a target without an announcer", three(t, node("n4", 0)), []string{"move", "192.0.2.10", "--to", "n4"}, "kubectl get vipnodes"},
		{"neither now nor a dry run", three(t), []string{"rebalance"}, "say either"},
		{"an unknown pool", three(t), []string{"rebalance", "--now", "attic"}, "kubectl get vippools"},
		{"no pool at all", tool{client: clusterOf(t, interceptor.Funcs{})}, []string{"rebalance", "--now"}, "kubectl explain vippool.spec"},
		{"both now and a dry run", three(t), []string{"rebalance", "--now", "--dry-run"}, "say either"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tt.tool.run(t, tt.args...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that says %q", err, tt.want)
			}
		})
	}
}

func TestCompletion(t *testing.T) {
	u := three(t)
	for _, tt := range []struct{ args, want []string }{
		{[]string{"evacuate", ""}, []string{"n1", "n2", "n3", ":4"}},
		{[]string{"move", ""}, []string{"192-0-2-10", "192-0-2-12", ":4"}},
		{[]string{"move", "192-0-2-10", "--to", ""}, []string{"n1", "n2", ":4"}},
		{[]string{"rebalance", "--now", ""}, []string{"office", ":4"}},
	} {
		out, _, err := u.run(t, append([]string{"__complete"}, tt.args...)...)
		if err != nil {
			t.Fatal(err)
		}
		contains(t, out, tt.want...)
	}
}

package manifests

import (
	"context"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// TestDelete removes the installation from a control plane of its own, with a VIP, its placeholder, a pool and a VIPNode in
// it, all at once and part by part in the orders that are easy to get wrong. Nothing may wait for a component of ours.
func TestDelete(t *testing.T) {
	folder := "../../manifests/"
	tests := map[string][][]string{
		"everything at once":              {{"-k", base}},
		"the CRDs first":                  {{"-k", folder + "crd"}, {"-k", base}},
		"the namespace first":             {{"-f", base + "/namespace.yaml"}, {"-k", base}},
		"the programs first":              {{"-f", base + "/controller.yaml", "-f", base + "/announcer.yaml"}, {"-k", base}},
		"the admission policies first":    {{"-f", base + "/admission-pods.yaml", "-f", base + "/admission-vipnodes.yaml"}, {"-k", base}},
		"the rights of all of them first": {{"-f", base + "/controller-rbac.yaml", "-f", base + "/announcer-rbac.yaml", "-f", base + "/scheduler-rbac.yaml"}, {"-k", base}},
	}
	runtime.LockOSThread() // see startControlPlane
	defer runtime.UnlockOSThread()
	c, err := startControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.stop(); err != nil {
			t.Error(err)
		}
	})
	admin := clientFor(t, c.admin)
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*settleTimeout)
			defer cancel()
			if err := install(ctx, c); err != nil {
				t.Fatal(err)
			}
			populate(t, admin)
			for _, step := range steps {
				args := append([]string{"delete", "--ignore-not-found", "--wait", "--timeout=" + settleTimeout.String()}, step...)
				if _, err := c.kubectl(ctx, args...); err != nil {
					t.Fatal(err)
				}
			}
			var namespace corev1.Namespace
			if err := admin.Get(ctx, client.ObjectKey{Name: ns}, &namespace); !apierrors.IsNotFound(err) {
				t.Errorf("the namespace is still there: %v, %v", namespace.Status, err)
			}
			left, err := c.kubectl(ctx, "get", "crds,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,rolebindings", "-A", "-o", "name")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(left, "\n") {
				if strings.Contains(line, "evenkeel") {
					t.Errorf("left behind: %s", line)
				}
			}
		})
	}
}

// populate makes one object of each kind, as they are in a cluster at work. The placeholder has no node: a pod that is bound to
// one goes when its kubelet says so, which is Kubernetes' affair.
func populate(t *testing.T, admin client.Client) {
	t.Helper()
	record := vip("192-0-2-10", "192.0.2.10")
	p := pool("192.0.2.0/28")
	p.GenerateName, p.Name = "", "office"
	for _, object := range []client.Object{p, record, &v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}} {
		if err := admin.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: "192-0-2-10-0",
			Labels: map[string]string{placeholder.LabelVIP: record.Name, placeholder.LabelRole: string(placeholder.Active)},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIP", Name: record.Name, UID: record.UID,
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
			}},
		},
		Spec: corev1.PodSpec{
			SchedulerName: placeholder.SchedulerName, HostNetwork: true, AutomountServiceAccountToken: ptr.To(false),
			Containers: []corev1.Container{{Name: "vip", Image: "pause"}},
		},
	}
	if err := admin.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

package manifests

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	ns        = placeholder.DefaultNamespace
	announcer = "evenkeel-announcer"
)

// TestAnnouncerPods is what the token of node-1's announcer may do to pods.
func TestAnnouncerPods(t *testing.T) {
	admin := adminClient(t)
	makeNodes(t, admin, "node-1", "node-2")
	own := clientFor(t, announcerOn(t, admin, "node-1"))
	untied := clientFor(t, announcerWithoutNode(t, admin))
	waitForPolicies(t, admin, untied)

	const ours = `{"status":{"conditions":[{"type":"evenkeel.io/ready","status":"False","reason":"Probing"},` +
		`{"type":"evenkeel.io/announced","status":"False","reason":"Probing"}]}}`
	tests := map[string]struct {
		node     string // where the pod is; node-1 by default
		as       client.Client
		change   func(*corev1.Pod) // of the pod before it is made
		kind     types.PatchType   // strategic merge by default
		patch    string
		whole    bool // patch the pod itself, not its status
		want     string
		loosened bool // with the status rights widened to the whole pod, so that the policy alone decides
	}{
		"report conditions of its own placeholder":       {patch: ours},
		"take a condition of its own back":               {patch: `{"status":{"conditions":[{"type":"evenkeel.io/ready","$patch":"delete"}]}}`},
		"report by JSON merge patch with all conditions": {kind: types.MergePatchType, patch: `{"status":{"conditions":[{"type":"Initialized","status":"True"},{"type":"evenkeel.io/ready","status":"False"}]}}`},

		"a placeholder of another node":               {node: "node-2", patch: ours, want: `the announcer of node "node-1" may not change a placeholder on node "node-2"`},
		"a placeholder that has no node yet":          {node: "-", patch: ours, want: `may not change a placeholder on node ""`},
		"a pod on its node that is no placeholder":    {change: func(p *corev1.Pod) { delete(p.Labels, placeholder.LabelVIP) }, patch: ours, want: "only placeholders"},
		"a pod on its node of another scheduler":      {change: func(p *corev1.Pod) { p.Spec.SchedulerName = "default-scheduler" }, patch: ours, want: "only placeholders"},
		"the phase":                                   {patch: `{"status":{"phase":"Failed"}}`, want: "nothing but conditions"},
		"the pod's address":                           {kind: types.MergePatchType, patch: `{"status":{"podIP":"192.0.2.66","podIPs":[{"ip":"192.0.2.66"}]}}`, want: "nothing but conditions"},
		"the host's address":                          {patch: `{"status":{"hostIP":"192.0.2.66","hostIPs":[{"ip":"192.0.2.66"}]}}`, want: "nothing but conditions"},
		"container statuses":                          {patch: `{"status":{"containerStatuses":[{"name":"vip","image":"x","imageID":"x","ready":true,"restartCount":0}]}}`, want: "nothing but conditions"},
		"the message":                                 {patch: `{"status":{"message":"all is well"}}`, want: "nothing but conditions"},
		"a field taken away":                          {patch: `{"status":{"startTime":null}}`, want: "nothing but conditions"},
		"the condition Ready":                         {patch: `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, want: "begins with evenkeel.io/"},
		"the condition Initialized":                   {patch: `{"status":{"conditions":[{"type":"Initialized","status":"False"}]}}`, want: "begins with evenkeel.io/"},
		"take a foreign condition away":               {patch: `{"status":{"conditions":[{"type":"Initialized","$patch":"delete"}]}}`, want: "begins with evenkeel.io/"},
		"a condition that only looks like its own":    {patch: `{"status":{"conditions":[{"type":"evenkeel.io.example.org/ready","status":"True"}]}}`, want: "begins with evenkeel.io/"},
		"labels by way of the status":                 {patch: `{"metadata":{"labels":{"evenkeel.io/role":"standby"}}}`, want: "labels, annotations, finalizers"},
		"annotations by way of the status":            {patch: `{"metadata":{"annotations":{"evenkeel.io/term":"99"}}}`, want: "labels, annotations, finalizers"},
		"a new label by way of the status":            {patch: `{"metadata":{"labels":{"mine":"now"}}}`, want: "labels, annotations, finalizers"},
		"an annotation taken away through the status": {patch: `{"metadata":{"annotations":{"evenkeel.io/addresses":null}}}`, want: "labels, annotations, finalizers"},
		"its conditions and a label at once":          {patch: strings.Replace(ours, `{"status"`, `{"metadata":{"labels":{"mine":"now"}},"status"`, 1), want: "labels, annotations, finalizers"},

		"the pod itself":                     {whole: true, patch: `{"metadata":{"labels":{"mine":"now"}}}`, want: "cannot patch resource \"pods\""},
		"the pod itself, were RBAC too wide": {whole: true, loosened: true, patch: `{"metadata":{"labels":{"mine":"now"}}}`, want: "may change only the status of pods"},
		"a token that names no node":         {as: untied, patch: ours, want: "names no node"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			as, node, kind := test.as, test.node, test.kind
			if as == nil {
				as = own
			}
			if node == "" {
				node = "node-1"
			}
			if kind == "" {
				kind = types.StrategicMergePatchType
			}
			if test.loosened {
				allowTooMuch(t, admin)
			}
			pod := makePlaceholder(t, admin, node, test.change)
			var err error
			if test.whole {
				err = as.Patch(t.Context(), pod.DeepCopy(), client.RawPatch(kind, []byte(test.patch)))
			} else {
				err = as.Status().Patch(t.Context(), pod.DeepCopy(), client.RawPatch(kind, []byte(test.patch)))
			}
			checkRefusal(t, err, test.want)
			if test.want != "" && !apierrors.IsForbidden(err) {
				t.Errorf("refused with %q, want Forbidden", apierrors.ReasonForError(err))
			}
			var after corev1.Pod
			if err := admin.Get(t.Context(), client.ObjectKeyFromObject(pod), &after); err != nil {
				t.Fatal(err)
			}
			if changed := after.ResourceVersion != pod.ResourceVersion; changed != (test.want == "") {
				t.Errorf("the pod changed: %t, though the answer was %v", changed, err)
			}
		})
	}
	t.Run("spec through the status endpoint stays as it was", func(t *testing.T) {
		pod := makePlaceholder(t, admin, "node-1", nil)
		patch := []byte(`{"spec":{"activeDeadlineSeconds":1}}`)
		if err := own.Status().Patch(t.Context(), pod.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
		var after corev1.Pod
		if err := admin.Get(t.Context(), client.ObjectKeyFromObject(pod), &after); err != nil {
			t.Fatal(err)
		}
		if after.Spec.ActiveDeadlineSeconds != nil {
			t.Errorf("activeDeadlineSeconds is %d, want none", *after.Spec.ActiveDeadlineSeconds)
		}
	})
	t.Run("others are not held to the announcers' rules", func(t *testing.T) {
		pod := makePlaceholder(t, admin, "node-2", nil)
		patch := []byte(`{"status":{"phase":"Failed"}}`)
		if err := admin.Status().Patch(t.Context(), pod, client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Error(err)
		}
	})
}

// TestAnnouncerVIPNodes is what the tokens of node-1's and node-2's announcers may do to VIPNodes.
func TestAnnouncerVIPNodes(t *testing.T) {
	admin := adminClient(t)
	makeNodes(t, admin, "node-1", "node-2")
	first, second := clientFor(t, announcerOn(t, admin, "node-1")), clientFor(t, announcerOn(t, admin, "node-2"))
	untied := clientFor(t, announcerWithoutNode(t, admin))
	waitForPolicies(t, admin, untied)
	var node corev1.Node
	if err := first.Get(t.Context(), client.ObjectKey{Name: "node-1"}, &node); err != nil {
		t.Fatalf("an announcer reads its Node's UID: %v", err)
	}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}
	refer := func(change func(*metav1.OwnerReference)) []metav1.OwnerReference {
		other := owner
		change(&other)
		return []metav1.OwnerReference{other}
	}
	creations := map[string]struct {
		as     client.Client
		object metav1.ObjectMeta
		want   string
	}{
		"its own":                       {object: metav1.ObjectMeta{Name: "node-1", OwnerReferences: []metav1.OwnerReference{owner}}},
		"its own without an owner":      {object: metav1.ObjectMeta{Name: "node-1"}},
		"another node's":                {object: metav1.ObjectMeta{Name: "node-2"}, want: `the announcer of node "node-1" may not write the VIPNode "node-2"`},
		"one of a name that is made up": {object: metav1.ObjectMeta{GenerateName: "node-1"}, want: `may not write the VIPNode "node-1`},
		"owned by another node":         {object: metav1.ObjectMeta{Name: "node-1", OwnerReferences: refer(func(o *metav1.OwnerReference) { o.Name = "node-2" })}, want: "owned only by the Node"},
		"owned by another kind":         {object: metav1.ObjectMeta{Name: "node-1", OwnerReferences: refer(func(o *metav1.OwnerReference) { o.Kind = "Namespace" })}, want: "owned only by the Node"},
		"owned by another group's Node": {object: metav1.ObjectMeta{Name: "node-1", OwnerReferences: refer(func(o *metav1.OwnerReference) { o.APIVersion = "example.org/v1" })}, want: "owned only by the Node"},
		"with a finalizer":              {object: metav1.ObjectMeta{Name: "node-1", Finalizers: []string{"example.org/stay"}}, want: "has no finalizers"},
		"by a token that names no node": {as: untied, object: metav1.ObjectMeta{Name: "node-1"}, want: "names no node"},
	}
	for name, test := range creations {
		t.Run("create "+name, func(t *testing.T) {
			as := test.as
			if as == nil {
				as = first
			}
			checkRefusal(t, as.Create(t.Context(), &v1alpha1.VIPNode{ObjectMeta: test.object}, client.DryRunAll), test.want)
		})
	}

	vipNode := &v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "node-1", OwnerReferences: []metav1.OwnerReference{owner}}}
	if err := first.Create(t.Context(), vipNode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = admin.Delete(context.Background(), &v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}})
	})
	status := []byte(`{"status":{"version":"v0.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","carrier":true,"addresses":["192.0.2.101/24"]}]}}`)
	updates := map[string]struct {
		as    client.Client
		patch []byte
		want  string
	}{
		"its own":                   {as: first, patch: status},
		"another node's":            {as: second, patch: status, want: `the announcer of node "node-2" may not write the VIPNode "node-1"`},
		"by a token without a node": {as: untied, patch: status, want: "names no node"},
	}
	for name, test := range updates {
		t.Run("patch the status of "+name, func(t *testing.T) {
			checkRefusal(t, test.as.Status().Patch(t.Context(), vipNode.DeepCopy(), client.RawPatch(types.MergePatchType, test.patch)), test.want)
		})
	}
	t.Run("update the status of its own", func(t *testing.T) {
		var own v1alpha1.VIPNode
		if err := first.Get(t.Context(), client.ObjectKey{Name: "node-1"}, &own); err != nil {
			t.Fatal(err)
		}
		own.Status.Version = "v0.2.0"
		checkRefusal(t, first.Status().Update(t.Context(), &own), "")
	})
	t.Run("metadata through the status endpoint stays as it was", func(t *testing.T) {
		patch := []byte(`{"metadata":{"labels":{"mine":"now"}},"status":{"version":"v0.3.0"}}`)
		if err := first.Status().Patch(t.Context(), vipNode.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
			t.Fatal(err)
		}
		var after v1alpha1.VIPNode
		if err := admin.Get(t.Context(), client.ObjectKey{Name: "node-1"}, &after); err != nil {
			t.Fatal(err)
		}
		if after.Status.Version != "v0.3.0" || len(after.Labels) != 0 {
			t.Errorf("version %q and labels %v, want v0.3.0 and none", after.Status.Version, after.Labels)
		}
	})
	t.Run("delete its own", func(t *testing.T) {
		checkRefusal(t, first.Delete(t.Context(), vipNode.DeepCopy()), "cannot delete resource")
	})
	t.Run("were RBAC too wide", func(t *testing.T) {
		allowTooMuch(t, admin)
		checkRefusal(t, first.Delete(t.Context(), vipNode.DeepCopy()), "may not delete VIPNodes")
		checkRefusal(t, second.Delete(t.Context(), vipNode.DeepCopy()), "may not delete VIPNodes")
		finalizer := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.org/stay"]}}`))
		checkRefusal(t, first.Patch(t.Context(), vipNode.DeepCopy(), finalizer), "has no finalizers")
		pod := makePlaceholder(t, admin, "node-1", nil)
		checkRefusal(t, first.Delete(t.Context(), pod), "may change only the status of pods")
		elsewhere := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "mine"},
			Spec:       corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "x", Image: "x"}}},
		}
		checkRefusal(t, first.Create(t.Context(), elsewhere), "may change only the status of pods")
	})
}

// TestAnnouncerVIPNodeTraffics is what the tokens of node-1's and node-2's announcers may do to VIPNodeTraffics.
func TestAnnouncerVIPNodeTraffics(t *testing.T) {
	admin := adminClient(t)
	makeNodes(t, admin, "node-1", "node-2")
	first, second := clientFor(t, announcerOn(t, admin, "node-1")), clientFor(t, announcerOn(t, admin, "node-2"))
	untied := clientFor(t, announcerWithoutNode(t, admin))
	waitForPolicies(t, admin, untied)
	creations := map[string]struct {
		as     client.Client
		object metav1.ObjectMeta
		want   string
	}{
		"its own":                       {as: first, object: metav1.ObjectMeta{Name: "node-1"}},
		"another node's":                {as: first, object: metav1.ObjectMeta{Name: "node-2"}, want: `the announcer of node "node-1" may not write the VIPNodeTraffic "node-2"`},
		"owned by another node":         {as: first, object: metav1.ObjectMeta{Name: "node-1", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "node-2", UID: "x"}}}, want: "owned only by the Node"},
		"with a finalizer":              {as: first, object: metav1.ObjectMeta{Name: "node-1", Finalizers: []string{"example.org/stay"}}, want: "has no finalizers"},
		"by a token that names no node": {as: untied, object: metav1.ObjectMeta{Name: "node-1"}, want: "names no node"},
	}
	for name, test := range creations {
		t.Run("create "+name, func(t *testing.T) {
			checkRefusal(t, test.as.Create(t.Context(), &v1alpha1.VIPNodeTraffic{ObjectMeta: test.object}, client.DryRunAll), test.want)
		})
	}

	own := &v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	if err := first.Create(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.Background(), own.DeepCopy()) })
	update := func(as client.Client) error {
		var object v1alpha1.VIPNodeTraffic
		if err := as.Get(t.Context(), client.ObjectKey{Name: "node-1"}, &object); err != nil {
			return err
		}
		object.Status = v1alpha1.VIPNodeTrafficStatus{
			MeasuredAt: metav1.Now(), BytesPerSecond: 1, PacketsPerSecond: 1, CPUPermille: 1000,
			VIPs: []v1alpha1.VIPTraffic{{Name: "192-0-2-10", BytesPerSecond: 1, PacketsPerSecond: 1}},
		}
		return as.Update(t.Context(), &object)
	}
	checkRefusal(t, update(first), "")
	checkRefusal(t, update(second), `the announcer of node "node-2" may not write the VIPNodeTraffic "node-1"`)
	checkRefusal(t, update(untied), "names no node")
	checkRefusal(t, first.Delete(t.Context(), own.DeepCopy()), "cannot delete resource")
	t.Run("were RBAC too wide", func(t *testing.T) {
		allowTooMuch(t, admin)
		checkRefusal(t, first.Delete(t.Context(), own.DeepCopy()), "may not delete VIPNodeTraffics")
	})
}

// TestPoliciesTypeCheck reads what the API server's own type checker thinks of the policies' expressions.
func TestPoliciesTypeCheck(t *testing.T) {
	for _, name := range []string{"evenkeel-announcer-pods", "evenkeel-announcer-vipnodes"} {
		_, err := cluster.kubectl(t.Context(), "wait", "--for=jsonpath={.status.observedGeneration}=1", "--timeout="+settleTimeout.String(),
			"validatingadmissionpolicy/"+name)
		if err != nil {
			t.Fatal(err)
		}
		warnings, err := cluster.kubectl(t.Context(), "get", "validatingadmissionpolicy", name, "-o", "jsonpath={.status.typeChecking.expressionWarnings}")
		if err != nil {
			t.Fatal(err)
		}
		if warnings != "" {
			t.Errorf("%s: %s", name, warnings)
		}
	}
}

// makePlaceholder makes a pod as the controller would, bound to node ("-" for none) and running.
func makePlaceholder(t *testing.T, admin client.Client, node string, change func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	if node == "-" {
		node = ""
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, GenerateName: "192-0-2-10-",
			Labels:      map[string]string{placeholder.LabelVIP: "192-0-2-10", placeholder.LabelRole: string(placeholder.Active)},
			Annotations: map[string]string{placeholder.AnnotationAddresses: "192.0.2.10"},
		},
		Spec: corev1.PodSpec{
			NodeName: node, SchedulerName: placeholder.SchedulerName, HostNetwork: true,
			AutomountServiceAccountToken: ptr.To(false),
			Containers:                   []corev1.Container{{Name: "vip", Image: "pause"}},
		},
	}
	if change != nil {
		change(pod)
	}
	if err := admin.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
	status := []byte(`{"status":{"phase":"Running","startTime":"2026-01-01T00:00:00Z","hostIP":"192.0.2.101","podIP":"192.0.2.101","podIPs":[{"ip":"192.0.2.101"}],` +
		`"conditions":[{"type":"Initialized","status":"True"},{"type":"evenkeel.io/ready","status":"True"}]}}`)
	if err := admin.Status().Patch(t.Context(), pod, client.RawPatch(types.StrategicMergePatchType, status)); err != nil {
		t.Fatal(err)
	}
	return pod
}

func makeNodes(t *testing.T, admin client.Client, names ...string) {
	t.Helper()
	for _, name := range names {
		err := admin.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
}

// announcerOn returns the credentials that the kubelet of a node gets for its announcer: a token bound to that node.
func announcerOn(t *testing.T, admin client.Client, node string) *rest.Config {
	t.Helper()
	var object corev1.Node
	if err := admin.Get(t.Context(), client.ObjectKey{Name: node}, &object); err != nil {
		t.Fatal(err)
	}
	return tokenOf(t, admin, announcer, &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: object.UID})
}

func announcerWithoutNode(t *testing.T, admin client.Client) *rest.Config {
	t.Helper()
	return tokenOf(t, admin, announcer, nil)
}

func tokenOf(t *testing.T, admin client.Client, account string, bound *authenticationv1.BoundObjectReference) *rest.Config {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}
	serviceAccount := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: account}}
	if err := admin.SubResource("token").Create(t.Context(), serviceAccount, request); err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(cluster.admin)
	config.QPS, config.BearerToken = -1, request.Status.Token
	return config
}

// policiesInForce is closed over by waitForPolicies, so that only the first test waits.
var policiesInForce sync.Once

// waitForPolicies waits until the API server has read the admission policies: it takes them from a watch.
func waitForPolicies(t *testing.T, admin, untied client.Client) {
	t.Helper()
	policiesInForce.Do(func() {
		pod := makePlaceholder(t, admin, "node-1", nil)
		attempts := map[string]func(context.Context) error{
			"pods": func(ctx context.Context) error {
				patch := client.RawPatch(types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"evenkeel.io/ready","status":"False"}]}}`))
				return untied.Status().Patch(ctx, pod.DeepCopy(), patch, &client.SubResourcePatchOptions{PatchOptions: client.PatchOptions{DryRun: []string{metav1.DryRunAll}}})
			},
			"vipnodes": func(ctx context.Context) error {
				return untied.Create(ctx, &v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "canary"}}, client.DryRunAll)
			},
		}
		for name, attempt := range attempts {
			err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, settleTimeout, true, func(ctx context.Context) (bool, error) {
				err := attempt(ctx)
				return err != nil && strings.Contains(err.Error(), "names no node"), nil
			})
			if err != nil {
				t.Fatal(fmt.Errorf("waiting for the policy on %s: %w", name, err))
			}
		}
	})
}

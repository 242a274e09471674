package manifests

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/wishes"
)

const examples = "../../manifests/examples"

// TestExamples: the API server takes every example as it is, and so do we.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if _, err := cluster.kubectl(t.Context(), "apply", "--dry-run=server", "--validate=strict", "-f", file); err != nil {
				t.Error(err)
			}
			for _, object := range objectsIn(t, file) {
				understood(t, object)
			}
		})
	}
}

func objectsIn(t *testing.T, file string) (objects []unstructured.Unstructured) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for {
		var object unstructured.Unstructured
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
}

// understood fails the test where an example asks for something that we would not follow.
func understood(t *testing.T, object unstructured.Unstructured) {
	t.Helper()
	read := func(into any) {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
			t.Fatal(err)
		}
	}
	switch object.GetKind() {
	case "Service":
		var service corev1.Service
		read(&service)
		if _, mistakes := wishes.Of(&service); len(mistakes) > 0 {
			t.Errorf("Service %s: %q", service.Name, mistakes)
		}
	case "VIPPool":
		var pool v1alpha1.VIPPool
		read(&pool)
		if err := place.CheckPatch(pool.Spec.PodTemplatePatch); err != nil {
			t.Errorf("VIPPool %s: %v", pool.Name, err)
		}
	case "Deployment":
		var deployment appsv1.Deployment
		read(&deployment)
		template := deployment.Spec.Template
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		if _, err := placeholder.Parse(pod); err != nil || !placeholder.Is(pod) || deployment.Namespace != placeholder.DefaultNamespace {
			t.Errorf("Deployment %s makes no placeholders: %v", deployment.Name, err)
		}
	}
}

// TestPodTemplatePatchIsKept: the API server stores a patch as it was written, whatever is in it.
func TestPodTemplatePatchIsKept(t *testing.T) {
	admin := adminClient(t)
	p := pool("192.0.2.10")
	p.Spec.PodTemplatePatch = &runtime.RawExtension{Raw: []byte(`{"spec":{"nodeSelector":{"disk":null,"cpu":"fast"},"tolerations":[{"key":"edge"}]}}`)}
	if err := admin.Create(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Delete(t.Context(), p) })
	if got, want := string(p.Spec.PodTemplatePatch.Raw), `{"spec":{"nodeSelector":{"cpu":"fast","disk":null},"tolerations":[{"key":"edge"}]}}`; got != want {
		t.Errorf("stored as %s, want %s", got, want)
	}
}

// TestPodTemplatePatchIsTried: what the API server thinks of a placeholder with a pool's patch is known before one is made of it.
func TestPodTemplatePatchIsTried(t *testing.T) {
	admin := adminClient(t)
	keeper := place.NewKeeper(admin, admin, clock.RealClock{}, place.Look{Namespace: placeholder.DefaultNamespace, Image: "pause"})
	for _, tt := range []struct{ name, patch, says string }{
		{"a sound one", `{"metadata":{"labels":{"team":"net"}},"spec":{"nodeSelector":{"disk":"ssd"}}}`, ""},
		{"an unknown PriorityClass", `{"spec":{"priorityClassName":"nobody-made-it"}}`, "no PriorityClass with name nobody-made-it"},
		{"a label that is none", `{"metadata":{"labels":{"team":"two words"}}}`, `metadata.labels: Invalid value: "two words"`},
		{"a constraint without a skew", `{"spec":{"topologySpreadConstraints":[{"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"}]}}`, "maxSkew"},
	} {
		p := pool("192.0.2.10")
		p.UID = types.UID(tt.name)
		p.Spec.PodTemplatePatch = &runtime.RawExtension{Raw: []byte(tt.patch)}
		refusal, err := keeper.RefusedPatch(t.Context(), p)
		if err != nil || (refusal != "") != (tt.says != "") || !strings.Contains(refusal, tt.says) {
			t.Errorf("%s: %q, %v; want %q", tt.name, refusal, err, tt.says)
		}
	}
	var pods corev1.PodList
	if err := admin.List(t.Context(), &pods, client.InNamespace(placeholder.DefaultNamespace)); err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if strings.HasPrefix(pod.Name, "podtemplatepatch") {
			t.Errorf("%s exists, though it was only tried", pod.Name)
		}
	}
}

package place

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"evenkeel.io/evenkeel/api/placeholder"
)

func patchOf(text string) *runtime.RawExtension { return &runtime.RawExtension{Raw: []byte(text)} }

func TestCheckPatch(t *testing.T) {
	tests := []struct{ name, patch, says string }{
		{name: "none", patch: ``},
		{name: "null", patch: `null`},
		{name: "labels and annotations of one's own", patch: `{"metadata":{"labels":{"team":"net"},"annotations":{"example.com/why":"audit"}}}`},
		{name: "all that may be said of a spec", patch: `{"spec":{"affinity":{"podAntiAffinity":{}},"nodeSelector":{"disk":"ssd"},"tolerations":[{"key":"edge","operator":"Exists"}],
			"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"}],"priorityClassName":"high","imagePullSecrets":[{"name":"hub"}],
			"containers":[{"name":"placeholder","resources":{"requests":{"cpu":"1m"}}}]}}`},
		{name: "no JSON", patch: `{`, says: "no object"},
		{name: "a list", patch: `[]`, says: "no object"},
		{name: "another scheduler", patch: `{"spec":{"schedulerName":"default-scheduler"}}`, says: "spec.schedulerName"},
		{name: "no host network", patch: `{"spec":{"hostNetwork":false}}`, says: "spec.hostNetwork"},
		{name: "no readiness gate", patch: `{"spec":{"readinessGates":null}}`, says: "spec.readinessGates"},
		{name: "privileges of the pod", patch: `{"spec":{"securityContext":{"runAsUser":0}}}`, says: "spec.securityContext"},
		{name: "privileges of the container", patch: `{"spec":{"containers":[{"name":"placeholder","securityContext":{"privileged":true}}]}}`, says: "spec.containers.securityContext"},
		{name: "a second container", patch: `{"spec":{"containers":[{"name":"shell"}]}}`, says: "one container"},
		{name: "an init container", patch: `{"spec":{"initContainers":[{"name":"shell"}]}}`, says: "spec.initContainers"},
		{name: "no container", patch: `{"spec":{"containers":null}}`, says: "must be a list"},
		{name: "volumes", patch: `{"spec":{"volumes":[]}}`, says: "spec.volumes"},
		{name: "a label of ours", patch: `{"metadata":{"labels":{"evenkeel.io/vip":"x"}}}`, says: "evenkeel.io/vip"},
		{name: "a label of ours deleted", patch: `{"metadata":{"labels":{"evenkeel.io/role":null}}}`, says: "evenkeel.io/role"},
		{name: "all labels deleted", patch: `{"metadata":{"labels":null}}`, says: "must be an object"},
		{name: "an annotation of ours", patch: `{"metadata":{"annotations":{"evenkeel.io/term":"9"}}}`, says: "evenkeel.io/term"},
		{name: "another owner", patch: `{"metadata":{"ownerReferences":null}}`, says: "metadata.ownerReferences"},
		{name: "another name", patch: `{"metadata":{"name":"x"}}`, says: "metadata.name"},
		{name: "a status", patch: `{"status":{}}`, says: "status"},
		{name: "everything replaced", patch: `{"$patch":"replace"}`, says: "$patch"},
		{name: "a directive deep inside", patch: `{"spec":{"affinity":{"podAntiAffinity":{"$patch":"delete"}}}}`, says: "$patch"},
		{name: "a field of no pod", patch: `{"spec":{"affinity":{"nodeAntiAffinity":{}}}}`, says: "no part of a pod"},
		{name: "a value of another type", patch: `{"spec":{"nodeSelector":["a"]}}`, says: "no part of a pod"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckPatch(patchOf(tt.patch))
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one with %q", err, tt.says)
			}
			s := subject()
			plain := Build(s, Look{}, Claim{Role: placeholder.Active}, nil)
			s.Pool.Spec.PodTemplatePatch = patchOf(tt.patch)
			if diff := cmp.Diff(plain, Build(s, Look{}, Claim{Role: placeholder.Active}, nil)); (diff != "") != (tt.says == "" && len(tt.patch) > 4) {
				t.Errorf("the placeholder with it (-without +with):\n%s", diff)
			}
		})
	}
}

func TestAPatchAddsToWhatPoolAndServiceAskFor(t *testing.T) {
	s := subject()
	s.Service.Annotations = map[string]string{placeholder.AnnotationNodeSelector: "disk=ssd", placeholder.LabelSpreadGroup: "dns", placeholder.AnnotationSpread: "hard"}
	s.Pool.Spec.PodTemplatePatch = patchOf(`{"spec":{"tolerations":[{"key":"edge","operator":"Exists"}],"affinity":{
		"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
			{"matchExpressions":[{"key":"rack","operator":"In","values":["1"]}]},{"matchExpressions":[{"key":"rack","operator":"In","values":["2"]}]}, {}]}},
		"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"rack","labelSelector":{"matchLabels":{"app":"noisy"}}}]}}}}`)
	pod := Build(s, Look{}, Claim{Role: placeholder.Active}, nil)
	for _, want := range append(slices.Clone(tolerations), s.Pool.Spec.Tolerations[0], corev1.Toleration{Key: "edge", Operator: corev1.TolerationOpExists}) {
		if !slices.Contains(pod.Spec.Tolerations, want) {
			t.Errorf("it doesn't tolerate %+v", want)
		}
	}
	terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	for i, term := range terms[:2] {
		var keys []string
		for _, e := range term.MatchExpressions {
			keys = append(keys, e.Key)
		}
		if diff := cmp.Diff([]string{"rack", "zone", "edge", "disk"}, keys); diff != "" {
			t.Errorf("term %d (-want +got):\n%s", i, diff)
		}
	}
	if len(terms[2].MatchExpressions) > 0 {
		t.Error("a term that allows no node now allows some")
	}
	if anti := pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution; len(anti) != 2 {
		t.Errorf("pod anti-affinity %+v, want the patch's term and the group's", anti)
	}
	needs := NeedsOf(s)
	if diff := cmp.Diff(pod.Spec.Tolerations, needs.Tolerations); diff != "" {
		t.Errorf("what is known of its tolerations (-pod +known):\n%s", diff)
	}
	for _, tt := range []struct {
		labels map[string]string
		fits   bool
	}{{map[string]string{"rack": "1", "zone": "a", "edge": "", "disk": "ssd"}, true}, {map[string]string{"rack": "3", "zone": "a", "edge": "", "disk": "ssd"}, false},
		{map[string]string{"rack": "2", "zone": "a", "edge": ""}, false}, {map[string]string{}, false}} {
		node := &corev1.Node{}
		node.Labels = tt.labels
		if fits, err := needs.Nodes.Match(node); err != nil || fits != tt.fits {
			t.Errorf("a node with %v fits: %v, %v", tt.labels, fits, err)
		}
	}
}

// Whatever a pool's patch says, the pod is a placeholder of this VIP, and a harmless one.
func FuzzPatch(f *testing.F) {
	for _, patch := range []string{
		`{"spec":{"nodeSelector":{"a":"b"},"containers":[{"name":"placeholder","resources":{}}]}}`, `{"metadata":{"labels":{"a":null}}}`,
		`{"Spec":{"HostNetwork":false},"spec":{"affinity":null}}`, `{"spec":{"containers":[{"name":"placeholder"},{"name":"placeholder"}]}}`,
		`{"spec":{"containers":[]}}`, `{"metadata":{"labels":{"EVENKEEL.IO/vip":"x"}}}`, `{"spec":{"tolerations":null,"imagePullSecrets":[{}]}}`,
	} {
		f.Add([]byte(patch))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		s := subject()
		plain := Build(s, Look{Namespace: "evenkeel-system", Image: "pause"}, Claim{Role: placeholder.Active, Sequence: 1}, nil)
		s.Pool.Spec.PodTemplatePatch = &runtime.RawExtension{Raw: patch}
		pod := Build(s, Look{Namespace: "evenkeel-system", Image: "pause"}, Claim{Role: placeholder.Active, Sequence: 1}, nil)
		if _, err := json.Marshal(pod); err != nil {
			t.Fatal(err)
		}
		for key, value := range plain.Labels {
			if pod.Labels[key] != value {
				t.Fatalf("label %s: %q", key, pod.Labels[key])
			}
		}
		for key := range pod.Annotations {
			if strings.HasPrefix(key, "evenkeel.io/") && pod.Annotations[key] != plain.Annotations[key] {
				t.Fatalf("annotation %s: %q", key, pod.Annotations[key])
			}
		}
		for _, toleration := range plain.Spec.Tolerations {
			if !slices.Contains(pod.Spec.Tolerations, toleration) {
				t.Fatalf("it no longer tolerates %+v", toleration)
			}
		}
		pod.Labels, pod.Annotations = plain.Labels, plain.Annotations
		a, b := pod.Spec.DeepCopy(), plain.Spec.DeepCopy()
		for _, spec := range []*corev1.PodSpec{a, b} {
			spec.Affinity, spec.NodeSelector, spec.Tolerations, spec.TopologySpreadConstraints = nil, nil, nil, nil
			spec.PriorityClassName, spec.ImagePullSecrets = "", nil
			spec.Containers[0].Resources = corev1.ResourceRequirements{}
		}
		if diff := cmp.Diff(plain.ObjectMeta, pod.ObjectMeta); diff != "" {
			t.Fatalf("(-without +with):\n%s", diff)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Fatalf("(-without +with):\n%s", diff)
		}
	})
}

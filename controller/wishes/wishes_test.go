package wishes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/placeholder"
)

func service(annotations map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: annotations}}
}

func TestOf(t *testing.T) {
	const nodes, group, topology, how = placeholder.AnnotationNodeSelector, placeholder.LabelSpreadGroup, placeholder.AnnotationSpreadTopology, placeholder.AnnotationSpread
	requirement := func(key string, operator corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	tests := []struct {
		name        string
		annotations map[string]string
		want        Wishes
		says        []string
	}{
		{name: "a Service without annotations asks for nothing"},
		{name: "empty annotations ask for nothing", annotations: map[string]string{nodes: "", group: "", topology: "", how: ""}},
		{name: "every operator of a label selector", annotations: map[string]string{nodes: "zone in (b,a),disk=ssd,arch==arm64,tier!=x,os notin (z,y),edge,!spot,cores>7,age<3"},
			want: Wishes{Nodes: []corev1.NodeSelectorRequirement{
				requirement("age", corev1.NodeSelectorOpLt, "3"), requirement("arch", corev1.NodeSelectorOpIn, "arm64"), requirement("cores", corev1.NodeSelectorOpGt, "7"),
				requirement("disk", corev1.NodeSelectorOpIn, "ssd"), requirement("edge", corev1.NodeSelectorOpExists), requirement("os", corev1.NodeSelectorOpNotIn, "y", "z"),
				requirement("spot", corev1.NodeSelectorOpDoesNotExist), requirement("tier", corev1.NodeSelectorOpNotIn, "x"), requirement("zone", corev1.NodeSelectorOpIn, "a", "b"),
			}}},
		{name: "a selector that can't be read is no wish", annotations: map[string]string{nodes: "zone in a"}, says: []string{nodes, `"zone in a"`, "Any node is taken"}},
		{name: "nor is one that a node affinity can't express", annotations: map[string]string{nodes: "cores>many"}, says: []string{nodes}},
		{name: "nor one of absurd length", annotations: map[string]string{nodes: strings.Repeat("a", 5000)}, says: []string{"longer than 4096 bytes"}},
		{name: "a group is spread softly over nodes", annotations: map[string]string{group: "dns"}, want: Wishes{Spread: Spread{Group: "shop.dns", Topology: "kubernetes.io/hostname"}}},
		{name: "hard, over zones", annotations: map[string]string{group: "dns", how: "hard", topology: "topology.kubernetes.io/zone"},
			want: Wishes{Spread: Spread{Group: "shop.dns", Topology: "topology.kubernetes.io/zone", Hard: true}}},
		{name: "what is neither soft nor hard is soft", annotations: map[string]string{group: "dns", how: "Hard"},
			want: Wishes{Spread: Spread{Group: "shop.dns", Topology: "kubernetes.io/hostname"}}, says: []string{how, `"Hard" is neither "soft" nor "hard"`, `taken for "soft"`}},
		{name: "a topology that is no label is hostname", annotations: map[string]string{group: "dns", topology: "a zone"},
			want: Wishes{Spread: Spread{Group: "shop.dns", Topology: "kubernetes.io/hostname"}}, says: []string{topology, `"a zone"`}},
		{name: "a name that can't be a label's value names no group", annotations: map[string]string{group: "our dns"}, says: []string{group, `"our dns"`, "not spread"}},
		{name: "how to spread means nothing without a group", annotations: map[string]string{how: "hard", topology: "zone"}, says: []string{how + ": it has no effect", topology + ": it has no effect"}},
		{name: "one mistake doesn't spoil the rest", annotations: map[string]string{nodes: "(", group: "dns"},
			want: Wishes{Spread: Spread{Group: "shop.dns", Topology: "kubernetes.io/hostname"}}, says: []string{nodes}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, mistakes := Of(service(tt.annotations))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (len(mistakes) > 0) != (len(tt.says) > 0) {
				t.Errorf("mistakes %q", mistakes)
			}
			for _, says := range tt.says {
				if !strings.Contains(strings.Join(mistakes, "; "), says) {
					t.Errorf("mistakes %q don't say %q", mistakes, says)
				}
			}
		})
	}
	if got, mistakes := Of(nil); len(mistakes) > 0 || len(got.Nodes) > 0 || got.Spread != (Spread{}) {
		t.Errorf("without a Service: %+v, %q", got, mistakes)
	}
}

func TestPropertyTwoGroupsAreNeverOne(t *testing.T) {
	namespaces := rapid.OneOf(rapid.StringMatching(`[a-z][a-z0-9-]{0,2}[a-z0-9]`), rapid.StringMatching(`[a-z][a-z0-9-]{40,61}[a-z0-9]`))
	names := rapid.OneOf(rapid.StringMatching(`[a-z][a-z0-9._-]{0,2}[a-z0-9]`), rapid.StringMatching(`[a-z][a-z0-9._-]{10,61}[a-z0-9]`))
	rapid.Check(t, func(t *rapid.T) {
		a, b := [2]string{namespaces.Draw(t, "namespace"), names.Draw(t, "name")}, [2]string{namespaces.Draw(t, "other namespace"), names.Draw(t, "other name")}
		value, other := Group(a[0], a[1]), Group(b[0], b[1])
		if wrong := validation.IsValidLabelValue(value); len(wrong) > 0 {
			t.Fatalf("%q is no label value: %v", value, wrong)
		}
		if (value == other) != (a == b) {
			t.Fatalf("%q for %v and %q for %v", value, a, other, b)
		}
	})
}

// What is read means for nodes what it means for kubectl, as far as node affinities can say it.
func FuzzParseNodes(f *testing.F) {
	for _, text := range []string{"zone in (a,b),disk=ssd", "!spot,cores>7", "a notin ()", "a!=", "a=,b in (,x)", "x in (", "a>b", "=", "a,a=1,!a", "\xff"} {
		f.Add(text, "zone", "a")
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		requirements, err := ParseNodes(text)
		if err != nil || len(requirements) == 0 {
			return
		}
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatalf("%q is read, but is no label selector: %v", text, err)
		}
		affinity, err := nodeaffinity.NewNodeSelector(&corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: requirements}}})
		if err != nil {
			t.Fatalf("%q makes a node affinity that can't be read: %v", text, err)
		}
		for _, set := range []map[string]string{{}, {key: value}, {"a": "1"}, {"zone": "a", "disk": "ssd"}} {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: set}}
			if got, want := affinity.Match(node), selector.Matches(labels.Set(set)); got != want {
				t.Fatalf("%q on %v: %v as a node affinity, %v as a label selector", text, set, got, want)
			}
		}
	})
}

func FuzzOf(f *testing.F) {
	f.Add("zone=a", "dns", "hard", "topology.kubernetes.io/zone")
	f.Add("\x00", strings.Repeat("x", 64), "\xff", "/")
	f.Fuzz(func(t *testing.T, nodes, group, how, topology string) {
		got, _ := Of(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Annotations: map[string]string{
			placeholder.AnnotationNodeSelector: nodes, placeholder.LabelSpreadGroup: group, placeholder.AnnotationSpread: how, placeholder.AnnotationSpreadTopology: topology,
		}}})
		if wrong := validation.IsValidLabelValue(got.Spread.Group); len(wrong) > 0 {
			t.Fatalf("group %q: %v", got.Spread.Group, wrong)
		}
		if got.Spread.Group != "" && len(validation.IsQualifiedName(got.Spread.Topology)) > 0 {
			t.Fatalf("topology %q", got.Spread.Topology)
		}
	})
}

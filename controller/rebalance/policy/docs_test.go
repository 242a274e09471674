package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

const docs = "../../../docs/rebalancing.md"

// TestDocumentedPolicies: every example of docs/rebalancing.md is read strictly and is a policy without a mistake; the first one states
// the defaults.
func TestDocumentedPolicies(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	var modes []v1alpha1.RebalanceMode
	for i, example := range examples {
		var pool v1alpha1.VIPPool
		if err := yaml.UnmarshalStrict([]byte(example[1]), &pool); err != nil {
			t.Fatalf("%v in:\n%s", err, example[1])
		}
		p, errs := Of(pool.Spec.Rebalance, Policy{Mode: "absent"}, field.NewPath("spec", "rebalance"))
		if len(errs) > 0 {
			t.Errorf("%v in:\n%s", errs, example[1])
		}
		if d := Default(); i == 0 && (p.Mode != d.Mode || p.Threshold != d.Threshold || p.AtOnce != d.AtOnce || p.PerHour != d.PerHour ||
			p.Cooldown != d.Cooldown || p.Settle != d.Settle || p.TrafficShare != d.TrafficShare) {
			t.Errorf("the first example is %+v, the defaults are %+v", p, d)
		}
		modes = append(modes, p.Mode)
	}
	if len(modes) != 3 || modes[1] != v1alpha1.RebalanceWindowed || modes[2] != v1alpha1.RebalanceOff {
		t.Errorf("modes of the examples: %v", modes)
	}
}

// TestReasonsAreDocumented: docs/rebalancing.md says of each reason when it ends.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []Reason{Off, Manual, OutsideWindow, MassFailure, MovesUnderWay, Budget, Never, Cooldown, Traffic, NodeSettling} {
		if !strings.Contains(string(text), "\n| `"+string(reason)+"`") {
			t.Errorf("%s isn't there", reason)
		}
	}
}

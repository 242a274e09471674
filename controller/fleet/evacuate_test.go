package fleet

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestEvacuatedNodes(t *testing.T) {
	const exclude = corev1.LabelNodeExcludeBalancers
	tests := []struct {
		name   string
		labels map[string]string
		ignore bool
		why    string
	}{
		{"no label", nil, false, ""},
		{"evacuated", map[string]string{placeholder.LabelEvacuate: "true"}, false, Evacuated},
		{"evacuated, whatever the value", map[string]string{placeholder.LabelEvacuate: ""}, false, Evacuated},
		{"evacuated, though the exclude label is ignored", map[string]string{placeholder.LabelEvacuate: "true", exclude: ""}, true, Evacuated},
		{"excluded, which is ignored", map[string]string{exclude: ""}, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			meta := metav1.ObjectMeta{Name: "n", Labels: tt.labels}
			fleet := Of([]v1alpha1.VIPNode{{ObjectMeta: meta}}, []corev1.Node{{ObjectMeta: meta}}, Options{IgnoreExcludeLabel: tt.ignore}, time.Now())
			if n := fleet.For(Demand{})["n"]; n.Why != tt.why || n.Able != (tt.why == "") {
				t.Errorf("%+v, want %q", n, tt.why)
			}
		})
	}
}

// TestBookTellsOfEvacuation: whoever follows the book hears that a label came or went.
func TestBookTellsOfEvacuation(t *testing.T) {
	told := 0
	book := NewBook(Options{})
	book.OnChange(func() { told++ })
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	book.ObserveNode(&node)
	before := told
	evacuated := node.DeepCopy()
	evacuated.Labels = map[string]string{placeholder.LabelEvacuate: "true"}
	book.ObserveNode(evacuated)
	book.ObserveNode(&node)
	if told != before+2 {
		t.Errorf("told %d times, want twice", told-before)
	}
}

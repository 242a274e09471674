package setup

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
)

func TestOfANodeOnlyWhatIsReadIsKept(t *testing.T) {
	want := map[string]string{placeholder.AnnotationCapacity: "2", placeholder.AnnotationMaxVIPs: "9"}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: maps.Clone(want)}}
	node.Annotations["large"] = "and read by nobody"
	node.Status.Images = []corev1.ContainerImage{{}}
	if _, err := essentials(node); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(node.Annotations, want) || len(node.Status.Images) > 0 {
		t.Errorf("kept %v and %d images", node.Annotations, len(node.Status.Images))
	}
}

package fleet

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestCapacitiesAndLimitsAreFollowed(t *testing.T) {
	book, told := NewBook(Options{}), 0
	book.OnChange(func() { told++ })
	node := func(annotations map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: annotations}}
	}
	book.ObserveNode(node(nil))
	for _, tt := range []struct {
		name           string
		annotations    map[string]string
		speed          int64
		capacity, most int64
		change         bool
	}{
		{name: "nothing said", capacity: 1},
		{name: "other annotations", annotations: map[string]string{"a": "b"}, capacity: 1},
		{name: "a capacity", annotations: map[string]string{placeholder.AnnotationCapacity: "7"}, capacity: 7, change: true},
		{name: "a limit", annotations: map[string]string{placeholder.AnnotationCapacity: "7", placeholder.AnnotationMaxVIPs: "3"}, capacity: 7, most: 3, change: true},
		{name: "the speed of NICs that nobody has seen", annotations: map[string]string{placeholder.AnnotationCapacity: placeholder.CapacityNICSpeed}, capacity: 1, change: true},
		{name: "the speed of NICs", annotations: map[string]string{placeholder.AnnotationCapacity: placeholder.CapacityNICSpeed}, speed: 25000, capacity: 25000, change: true},
		{name: "what can't be read", annotations: map[string]string{placeholder.AnnotationCapacity: "x", placeholder.AnnotationMaxVIPs: "y"}, speed: 25000, capacity: 1, change: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told = 0
			book.ObserveNode(node(tt.annotations))
			if tt.speed > 0 {
				book.ObserveVIPNode(&v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: v1alpha1.VIPNodeStatus{
					Interfaces: []v1alpha1.NodeInterface{{Name: "eth0", Carrier: true, SpeedMbps: tt.speed}, {Name: "eth1", SpeedMbps: tt.speed}},
				}})
			}
			fleet := book.Fleet(time.Now())
			if capacity, most := fleet.Capacity("n"), fleet.Limit("n"); capacity != tt.capacity || most != tt.most {
				t.Errorf("capacity %d, limit %d, want %d and %d", capacity, most, tt.capacity, tt.most)
			}
			if (told > 0) != tt.change {
				t.Errorf("told %d times", told)
			}
		})
	}
	if fleet := book.Fleet(time.Now()); fleet.Capacity("nobody") != 1 || fleet.Limit("nobody") != 0 {
		t.Error("a node that nobody knows has a capacity of 1 and no limit")
	}
}

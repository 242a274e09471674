package nodenotes

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/serving"
)

func TestMistakes(t *testing.T) {
	fast := v1alpha1.NodeInterface{Name: "eth0", Carrier: true, SpeedMbps: 10000}
	unplugged := v1alpha1.NodeInterface{Name: "eth1", SpeedMbps: 10000}
	tests := []struct {
		name           string
		key, value     string
		nics           []v1alpha1.NodeInterface
		noAnnouncer    bool
		capacity, most string
	}{
		{name: "nothing said"},
		{name: "a capacity", key: placeholder.AnnotationCapacity, value: "40"},
		{name: "a capacity of nothing", key: placeholder.AnnotationCapacity, value: "0", capacity: `"0" is neither a whole number from 1 to 1000000 nor nic-speed. Its capacity counts 1`},
		{name: "too large a capacity", key: placeholder.AnnotationCapacity, value: "1000001", capacity: "neither"},
		{name: "a capacity in words", key: placeholder.AnnotationCapacity, value: "large", capacity: "neither"},
		{name: "the NICs' speed", key: placeholder.AnnotationCapacity, value: "nic-speed", nics: []v1alpha1.NodeInterface{fast}},
		{name: "the speed of NICs that don't tell", key: placeholder.AnnotationCapacity, value: "nic-speed", nics: []v1alpha1.NodeInterface{unplugged}, capacity: "write a number"},
		{name: "the speed of NICs that nobody has seen yet", key: placeholder.AnnotationCapacity, value: "nic-speed", noAnnouncer: true},
		{name: "a limit", key: placeholder.AnnotationMaxVIPs, value: "12"},
		{name: "a limit of nothing", key: placeholder.AnnotationMaxVIPs, value: "0", most: `"0" is not a whole number from 1 to 100000. It takes any number of VIPs`},
		{name: "a limit in words", key: placeholder.AnnotationMaxVIPs, value: "few", most: `"few"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
			if tt.key != "" {
				node.Annotations[tt.key] = tt.value
			}
			vipNode := &v1alpha1.VIPNode{Status: v1alpha1.VIPNodeStatus{Interfaces: tt.nics}}
			if tt.noAnnouncer {
				vipNode = nil
			}
			capacity, most := Mistakes(node, vipNode)
			says(t, capacity, tt.capacity)
			says(t, most, tt.most)
		})
	}
}

func says(t *testing.T, err error, want string) {
	t.Helper()
	if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestAMistakeIsToldOnceUntilItIsMendedAndMadeAgain(t *testing.T) {
	scheme := clientgoscheme.Scheme
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u", Annotations: map[string]string{placeholder.AnnotationCapacity: "much"}}}
	c, recorder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(node).Build(), events.NewFakeRecorder(16)
	r := &Reconciler{Client: c, Teller: serving.NewTeller(recorder)}
	look := func(capacity string, want int) {
		t.Helper()
		if err := c.Get(t.Context(), types.NamespacedName{Name: "n"}, node); err != nil {
			t.Fatal(err)
		}
		node.Annotations = map[string]string{placeholder.AnnotationCapacity: capacity}
		if err := c.Update(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: types.NamespacedName{Name: "n"}}); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(recorder.Events); got != want {
			t.Errorf("%d events, want %d", got, want)
		}
	}
	look("much", 1)
	look("2", 1)
	look("much", 2)
}

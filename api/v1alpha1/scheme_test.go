package v1alpha1

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/utils/ptr"
)

func TestSchemeKnowsEveryKindAndItsList(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	tests := map[string]runtime.Object{
		"VIP": &VIP{}, "VIPList": &VIPList{}, "VIPPool": &VIPPool{}, "VIPPoolList": &VIPPoolList{}, "VIPNode": &VIPNode{}, "VIPNodeList": &VIPNodeList{},
	}
	for kind, object := range tests {
		kinds, unversioned, err := scheme.ObjectKinds(object)
		want := []schema.GroupVersionKind{{Group: "evenkeel.io", Version: "v1alpha1", Kind: kind}}
		if err != nil || unversioned || !cmp.Equal(want, kinds) {
			t.Errorf("%T is known as %v (unversioned %t, error %v), want %v", object, kinds, unversioned, err, want)
		}
	}
	if got, want := Resource("vips").String(), "vips.evenkeel.io"; got != want {
		t.Errorf("Resource is %s, want %s", got, want)
	}
}

// full returns one object of each kind with every field set.
func full() map[string]runtime.Object {
	now := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Local())
	meta := metav1.ObjectMeta{Name: "some"}
	kind := func(kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: GroupVersion.String(), Kind: kind}
	}
	conditions := []metav1.Condition{{Type: VIPAnnounced, Status: metav1.ConditionTrue, Reason: ReasonAnnounced, Message: "by node-1", LastTransitionTime: now, ObservedGeneration: 1}}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	return map[string]runtime.Object{
		"VIP": &VIP{
			TypeMeta: kind("VIP"), ObjectMeta: meta,
			Spec: VIPSpec{Addresses: []string{"192.0.2.10"}, Pool: "office", Services: []ServiceReference{{Namespace: "default", Name: "web", UID: "1"}}, ReleasedAt: &now},
			Status: VIPStatus{Node: "node-1", StandbyNodes: []string{"node-2"}, Since: &now, Term: 2, LastMove: &VIPMove{From: "node-2", To: "node-1", Reason: "PlaceholderDeleted", Time: now},
				Services: "default/web", Conditions: conditions},
		},
		"VIPPool": &VIPPool{
			TypeMeta: kind("VIPPool"), ObjectMeta: meta,
			Spec: VIPPoolSpec{Addresses: []string{"192.0.2.0/28"}, AutoAssign: ptr.To(false), Priority: -1, AvoidBuggyIPs: true, NamespaceSelector: selector, ServiceSelector: selector,
				Interfaces: []string{"eth0"}, NodeSelector: selector, Tolerations: []corev1.Toleration{{Key: "mine", Operator: corev1.TolerationOpExists}}},
			Status: VIPPoolStatus{ObservedGeneration: 1, IPv4: &FamilyUsage{Assigned: 1, Available: 15}, IPv6: &FamilyUsage{}, Conditions: conditions},
		},
		"VIPNode": &VIPNode{
			TypeMeta: kind("VIPNode"), ObjectMeta: meta,
			Status: VIPNodeStatus{Version: "v0.1.0", Interfaces: []NodeInterface{{Name: "eth0", MAC: "02:00:00:00:00:01", Addresses: []string{"192.0.2.101/24"}, Carrier: true, SpeedMbps: 1000}}, Conditions: conditions},
		},
	}
}

func TestObjectsSurviveStrictRoundTrips(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for name, want := range full() {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := decoder.Decode(text, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(want, want.DeepCopyObject()); diff != "" {
				t.Errorf("the deep copy differs (-want +got)\n%s", diff)
			}
		})
	}
}

// TestCountsAreWrittenWhenZero: a pool with nothing free must say 0, not nothing.
func TestCountsAreWrittenWhenZero(t *testing.T) {
	text, err := json.Marshal(VIPPoolStatus{IPv4: &FamilyUsage{}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(text), `{"ipv4":{"assigned":0,"available":0}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

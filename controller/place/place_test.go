package place

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func subject() Subject {
	return Subject{
		VIP: &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: "192-0-2-10", UID: "vip"}, Spec: v1alpha1.VIPSpec{
			Addresses: []string{"192.0.2.10", "2001:db8::10"}, Pool: "main", Weight: 5,
			Services: []v1alpha1.ServiceReference{{Namespace: "default", Name: "web", UID: "svc"}},
		}},
		Service: &corev1.Service{Spec: corev1.ServiceSpec{
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Ports:                 []corev1.ServicePort{{Port: 443}, {Port: 53, Protocol: corev1.ProtocolUDP}},
		}},
		Pool: &v1alpha1.VIPPool{Spec: v1alpha1.VIPPoolSpec{
			Interfaces: []string{"eth1"}, MaxVIPsPerNode: ptr.To(int32(9)),
			NodeSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "a"}, MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "edge", Operator: metav1.LabelSelectorOpExists}}},
			Tolerations:  []corev1.Toleration{{Key: "mine", Operator: corev1.TolerationOpExists}},
		}},
	}
}

func TestBuildKeepsTheContract(t *testing.T) {
	peers := []placeholder.Peer{{Pod: "192-0-2-10-1", Node: "node-1", MACs: []string{"02:00:00:00:00:01"}}}
	pod := Build(subject(), Look{Namespace: "evenkeel-system", Image: "pause", PriorityClass: "high"}, Claim{Role: placeholder.Active, Sequence: 2, Term: 7, Peers: peers}, nil)
	if !placeholder.Is(pod) || placeholder.HandWritten(pod) || pod.Name != "192-0-2-10-2" {
		t.Fatalf("no placeholder of ours: %+v", pod.ObjectMeta)
	}
	got, err := placeholder.Parse(pod)
	if err != nil {
		t.Fatal(err)
	}
	want := placeholder.Placeholder{
		Pod: types.NamespacedName{Namespace: "evenkeel-system", Name: "192-0-2-10-2"}, VIP: "192-0-2-10", Role: placeholder.Active,
		Addresses: got.Addresses, Interfaces: []string{"eth1"}, Weight: 5, Pool: "main", MaxVIPsPerNode: 9, Term: 7, Peers: peers,
		Ports:   []placeholder.Port{{Protocol: "tcp", Port: 443}, {Protocol: "udp", Port: 53}},
		Service: types.NamespacedName{Namespace: "default", Name: "web"}, Local: true,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || placeholder.FormatAddresses(got.Addresses) != "192.0.2.10,2001:db8::10" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	spec := pod.Spec
	if !spec.HostNetwork || len(spec.ReadinessGates) != 1 || spec.ReadinessGates[0].ConditionType != placeholder.ConditionReady || *spec.AutomountServiceAccountToken || *spec.EnableServiceLinks || spec.PriorityClassName != "high" {
		t.Errorf("spec %+v", spec)
	}
	if len(spec.Containers[0].Resources.Requests) > 0 {
		t.Error("a placeholder takes a pod slot and nothing else")
	}
	ref := metav1.GetControllerOf(pod)
	if ref == nil || ref.Kind != "VIP" || ref.UID != "vip" || ref.BlockOwnerDeletion != nil {
		t.Errorf("controller %+v", ref)
	}
	requirements := spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions
	if len(requirements) != 2 || requirements[0].Key != "zone" || requirements[1].Operator != corev1.NodeSelectorOpExists {
		t.Errorf("affinity %+v", requirements)
	}
}

func TestTolerations(t *testing.T) {
	pod := Build(subject(), Look{}, Claim{Role: placeholder.Active}, nil)
	tests := []struct {
		key       string
		effect    corev1.TaintEffect
		tolerated bool
	}{
		{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute, true},
		{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute, true},
		{corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule, false},
		{corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule, false},
		{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule, false},
		{corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule, true},
		{corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule, true},
		{"mine", corev1.TaintEffectNoExecute, true},
		{"other", corev1.TaintEffectNoSchedule, false},
	}
	for _, tt := range tests {
		tolerated := false
		for _, toleration := range pod.Spec.Tolerations {
			if toleration.Key == tt.key && (toleration.Effect == "" || toleration.Effect == tt.effect) {
				tolerated = tolerated || toleration.TolerationSeconds == nil // without limit
			}
		}
		if tolerated != tt.tolerated {
			t.Errorf("%s:%s tolerated: %v", tt.key, tt.effect, tolerated)
		}
	}
}

func TestWhatIsUnknownStaysAsItWas(t *testing.T) {
	s := subject()
	s.Service, s.Pool = nil, nil
	before := map[string]string{
		placeholder.AnnotationService: "default/web", placeholder.AnnotationPorts: "tcp/80", placeholder.AnnotationInterfaces: "eth9", placeholder.AnnotationMaxVIPsPerNode: "3",
		placeholder.AnnotationWeight: "5", placeholder.AnnotationPool: "main",
	}
	if diff := Difference(before, Annotations(s, before)); len(diff) != 0 {
		t.Errorf("patch %v", diff)
	}
	pod := Build(s, Look{}, Claim{Role: placeholder.Active}, before)
	if pod.Annotations[placeholder.AnnotationPorts] != "tcp/80" || pod.Annotations[placeholder.AnnotationInterfaces] != "eth9" {
		t.Errorf("annotations %v", pod.Annotations)
	}
}

func TestAServiceMayRefuseHandoff(t *testing.T) {
	s := subject()
	for _, tt := range []struct{ asked, want string }{{"false", "false"}, {"true", ""}, {"", ""}, {"no", ""}} {
		s.Service.Annotations = map[string]string{placeholder.AnnotationHandoff: tt.asked}
		pod := Build(s, Look{}, Claim{Role: placeholder.Active}, map[string]string{placeholder.AnnotationHandoff: "false"})
		if got := pod.Annotations[placeholder.AnnotationHandoff]; got != tt.want {
			t.Errorf("a Service that says %q has placeholders that say %q, want %q", tt.asked, got, tt.want)
		}
	}
}

func TestAVIPOfAnOlderVersionWeighsOne(t *testing.T) {
	s := subject()
	s.VIP.Spec.Weight, s.Pool.Spec.MaxVIPsPerNode = 0, nil
	pod := Build(s, Look{}, Claim{Role: placeholder.Active}, map[string]string{placeholder.AnnotationMaxVIPsPerNode: "3"})
	if _, limited := pod.Annotations[placeholder.AnnotationMaxVIPsPerNode]; limited || pod.Annotations[placeholder.AnnotationWeight] != "1" {
		t.Errorf("annotations %v, want weight 1 and no limit, as the pool has none any more", pod.Annotations)
	}
}

func TestDifference(t *testing.T) {
	want := map[string]*string{"changed": ptr.To("new"), "gone": nil}
	got := Difference(map[string]string{"same": "a", "changed": "old", "gone": "x"}, map[string]string{"same": "a", "changed": "new", "gone": "", "absent": ""})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDelay(t *testing.T) {
	want := []time.Duration{0, 0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
	for failures, d := range want {
		if got := delay(failures); got != d {
			t.Errorf("after %d failures %s, want %s", failures, got, d)
		}
	}
	if got := delay(1000); got != maxDelay {
		t.Errorf("after 1000 failures %s", got)
	}
}

func TestPropertySortLosesNoPodAndTheHighestTermLives(t *testing.T) {
	vip := subject().VIP
	rapid.Check(t, func(t *rapid.T) {
		var pods []corev1.Pod
		for i := range rapid.IntRange(0, 8).Draw(t, "pods") {
			pod := *Build(subject(), Look{}, Claim{Sequence: int64(i), Term: int64(rapid.IntRange(0, 5).Draw(t, "term"))}, nil)
			pod.Spec.NodeName = rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e"}).Draw(t, "node")
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				pod.OwnerReferences = nil
			case 1:
				pod.Status.Phase = corev1.PodFailed
			case 2:
				pod.Labels[placeholder.LabelRole] = string(placeholder.Standby)
			}
			pods = append(pods, pod)
		}
		p := Sort(vip, pods)
		n := len(p.Surplus) + len(p.Standbys) + len(p.Ended) + len(p.HandWritten)
		if p.Live != nil {
			n++
		}
		if n != len(pods) {
			t.Fatalf("%d of %d pods", n, len(pods))
		}
		if p.Live == nil && len(p.Surplus) > 0 {
			t.Fatal("surplus without a living one")
		}
		for _, other := range p.Surplus {
			if placeholder.Term(other) > placeholder.Term(p.Live) {
				t.Fatalf("term %d is surplus to %d", placeholder.Term(other), placeholder.Term(p.Live))
			}
		}
		previous, places := 0, map[string]bool{}
		for _, peer := range p.Succession(vip, func(string) *v1alpha1.VIPNode { return nil }) {
			if peer.Role == "" {
				previous++
			}
			if places[peer.Node] {
				t.Fatalf("node %s is listed twice", peer.Node)
			}
			places[peer.Node] = true
		}
		if previous > placeholder.MaxPreviousOwners {
			t.Fatalf("%d previous owners", previous)
		}
	})
}

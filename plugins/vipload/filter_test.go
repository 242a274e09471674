package vipload

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestFilter(t *testing.T) {
	const lan, lan6 = "192.0.2.101/24", "2001:db8::101/64"
	ready := discoveryv1.EndpointConditions{Ready: ptr.To(true)}
	draining := discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	excludedNode := st.MakeNode().Name("n").Label(corev1.LabelNodeExcludeBalancers, "").Obj()
	evacuatedNode := st.MakeNode().Name("n").Label(placeholder.LabelEvacuate, "").Obj()
	local := localPod("p", "192.0.2.10", "web/shop").Obj()
	dual := vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationAddresses, "192.0.2.10,2001:db8::10")
	dualLocal := localPod("p", "192.0.2.10", "web/shop").Annotation(placeholder.AnnotationAddresses, "192.0.2.10,2001:db8::10").Obj()
	onNode := func(w *st.PodWrapper) *corev1.Pod { return w.Node("n").Obj() }
	nodeOf := func(most string) *corev1.Node {
		return st.MakeNode().Name("n").Annotation(placeholder.AnnotationMaxVIPs, most).Obj()
	}
	inOffice := func(name, address string) *st.PodWrapper {
		return vipPod(name, address).Annotation(placeholder.AnnotationPool, "office")
	}
	office := []*corev1.Pod{onNode(inOffice("q", "192.0.2.11")), onNode(inOffice("r", "192.0.2.12")),
		onNode(inOffice("s", "192.0.2.13").Label(placeholder.LabelRole, "standby")), onNode(inOffice("t", "192.0.2.14").Terminating())}

	tests := []struct {
		name     string
		pod      *corev1.Pod
		node     *corev1.Node // default: a plain one
		vipNode  *v1alpha1.VIPNode
		ignore   bool
		slices   []*discoveryv1.EndpointSlice
		existing []*corev1.Pod
		want     *rejection
	}{
		{name: "a NIC in the subnet passes", vipNode: vipNode("n", alive("eth0", lan))},
		{name: "a node without VIPNode has no announcer", want: &noAnnouncer},
		{name: "an announcer that reports no NIC can't announce", vipNode: vipNode("n"), want: &noSubnet},
		{name: "a NIC in another subnet doesn't help", vipNode: vipNode("n", alive("eth0", "198.51.100.7/24")), want: &noSubnet},
		{name: "the right NIC has no carrier", vipNode: vipNode("n", alive("eth1", "198.51.100.7/24"), dead("eth0", lan)), want: &noCarrier},
		{name: "a second NIC in the subnet has carrier", vipNode: vipNode("n", dead("eth0", lan), alive("eth1", "192.0.2.102/24"))},
		{name: "an address that can't be read is no subnet", vipNode: vipNode("n", alive("eth0", "192.0.2.101")), want: &noSubnet},
		{name: "a single-address prefix holds no VIP", vipNode: vipNode("n", alive("eth0", "192.0.2.101/32")), want: &noSubnet},
		{name: "an IPv6 VIP needs an IPv6 subnet", pod: vipPod("p", "2001:db8::10").Obj(), vipNode: vipNode("n", alive("eth0", lan)), want: &noSubnet},
		{name: "an IPv6 VIP in the subnet passes", pod: vipPod("p", "2001:db8::10").Obj(), vipNode: vipNode("n", alive("eth0", lan6))},
		{name: "both families on one NIC pass", pod: dual.Obj(), vipNode: vipNode("n", alive("eth0", lan, lan6))},
		{name: "both families on two NICs pass", pod: dual.Obj(), vipNode: vipNode("n", alive("eth0", lan), alive("eth1", lan6))},
		{name: "the second family is missing", pod: dual.Obj(), vipNode: vipNode("n", alive("eth0", lan)), want: &noSubnet},
		{name: "the second family's NIC has no carrier", pod: dual.Obj(), vipNode: vipNode("n", alive("eth0", lan), dead("eth1", lan6)), want: &noCarrier},
		{name: "a missing subnet outranks a missing carrier", pod: dual.Obj(), vipNode: vipNode("n", dead("eth0", lan)), want: &noSubnet},

		{name: "a named interface replaces the subnet", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationInterfaces, "eth9,eth1").Obj(), vipNode: vipNode("n", alive("eth1"))},
		{name: "a NIC in the subnet doesn't help when others are named", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationInterfaces, "eth1").Obj(), vipNode: vipNode("n", alive("eth0", lan)), want: &noInterface},
		{name: "the named interface has no carrier", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationInterfaces, "eth1").Obj(), vipNode: vipNode("n", alive("eth0", lan), dead("eth1")), want: &noCarrier},

		{name: "a sick data plane is refused", vipNode: withDataPlane(vipNode("n", alive("eth0", lan)), metav1.ConditionFalse), want: &sickDataPlane},
		{name: "an unknown data plane passes", vipNode: withDataPlane(vipNode("n", alive("eth0", lan)), metav1.ConditionUnknown)},
		{name: "a healthy data plane passes", vipNode: withDataPlane(vipNode("n", alive("eth0", lan)), metav1.ConditionTrue)},

		{name: "the exclude label is obeyed whatever its value", node: excludedNode, vipNode: vipNode("n", alive("eth0", lan)), want: &excluded},
		{name: "the evacuate label is obeyed whatever its value, and whatever is told about the exclude label", node: evacuatedNode, ignore: true, vipNode: vipNode("n", alive("eth0", lan)), want: &evacuated},
		{name: "the exclude label is ignored when told so", node: excludedNode, ignore: true, vipNode: vipNode("n", alive("eth0", lan))},

		{name: "Local: a ready endpoint on the node passes", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("n", ready))}},
		{name: "Local: no endpoints at all", pod: local, vipNode: vipNode("n", alive("eth0", lan)), want: &noEndpoint},
		{name: "Local: the endpoint is on another node", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("m", ready))}, want: &noEndpoint},
		{name: "Local: the endpoint is another Service's", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("blog", discoveryv1.AddressTypeIPv4, endpoint("n", ready))}, want: &noEndpoint},
		{name: "Local: the endpoint isn't ready", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4,
				endpoint("n", discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(false)}))}, want: &noEndpoint},
		{name: "Local: a terminating endpoint that still serves isn't ready", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("n", draining), endpoint("m", ready))}, want: &noEndpoint},
		{name: "Local: it passes where none is ready", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("n", draining))}},
		{name: "Local: an unready endpoint that is published all the same", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4,
				endpoint("n", discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(false)}))}},
		{name: "Local: an endpoint that says nothing about itself is ready", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("n", discoveryv1.EndpointConditions{}))}},
		{name: "Local: an endpoint of no node", pod: local, vipNode: vipNode("n", alive("eth0", lan)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, discoveryv1.Endpoint{Conditions: ready})}, want: &noEndpoint},
		{name: "Local: each family needs its endpoint", pod: dualLocal, vipNode: vipNode("n", alive("eth0", lan, lan6)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("n", ready)),
				endpointSlice("shop", discoveryv1.AddressTypeIPv6, endpoint("m", ready))}, want: &noEndpoint},
		{name: "Local: a family that nobody serves is no hindrance", pod: dualLocal, vipNode: vipNode("n", alive("eth0", lan, lan6)),
			slices: []*discoveryv1.EndpointSlice{endpointSlice("shop", discoveryv1.AddressTypeIPv4, endpoint("n", ready))}},
		{name: "Cluster: endpoints don't matter", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationService, "web/shop").Annotation(placeholder.AnnotationPolicy, "Cluster").Obj(),
			vipNode: vipNode("n", alive("eth0", lan))},

		{name: "the pool has no limit", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationPool, "office").Obj(), vipNode: vipNode("n", alive("eth0", lan)), existing: office},
		{name: "the node may hold one more of the pool", pod: limitedPod("p", "192.0.2.10", "office", "3"), vipNode: vipNode("n", alive("eth0", lan)), existing: office},
		{name: "the node holds as many of the pool as it may", pod: limitedPod("p", "192.0.2.10", "office", "2"), vipNode: vipNode("n", alive("eth0", lan)), existing: office, want: &poolFull},
		{name: "VIPs of other pools don't count", pod: limitedPod("p", "192.0.2.10", "lab", "2"), vipNode: vipNode("n", alive("eth0", lan)), existing: office},
		{name: "the node takes one more VIP", node: nodeOf("3"), vipNode: vipNode("n", alive("eth0", lan)), existing: office},
		{name: "the node takes no more VIPs", node: nodeOf("2"), vipNode: vipNode("n", alive("eth0", lan)), existing: office, want: &nodeFull},
		{name: "a limit that can't be read is none", node: nodeOf("few"), vipNode: vipNode("n", alive("eth0", lan)), existing: office},

		{name: "the VIP has a placeholder here", vipNode: vipNode("n", alive("eth0", lan)), existing: []*corev1.Pod{onNode(vipPod("q", "192.0.2.10"))}, want: &sameVIP},
		{name: "the VIP has a standby here", vipNode: vipNode("n", alive("eth0", lan)),
			existing: []*corev1.Pod{onNode(vipPod("q", "192.0.2.10").Label(placeholder.LabelRole, "standby"))}, want: &sameVIP},
		{name: "another VIP's placeholder is welcome", vipNode: vipNode("n", alive("eth0", lan)), existing: []*corev1.Pod{onNode(vipPod("q", "192.0.2.11"))}},
		{name: "a placeholder that is being deleted has left", vipNode: vipNode("n", alive("eth0", lan)), existing: []*corev1.Pod{onNode(vipPod("q", "192.0.2.10").Terminating())}},
		{name: "a placeholder that failed has left", vipNode: vipNode("n", alive("eth0", lan)), existing: []*corev1.Pod{onNode(vipPod("q", "192.0.2.10").Phase(corev1.PodFailed))}},
		{name: "a pod that wears the label but isn't ours doesn't count", vipNode: vipNode("n", alive("eth0", lan)),
			existing: []*corev1.Pod{onNode(vipPod("q", "192.0.2.10").SchedulerName("default-scheduler"))}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pl := newTestPlugin(t, tt.slices...)
			pl.ignoreExcludeLabel = tt.ignore
			if tt.vipNode != nil {
				pl.nodes.set(tt.vipNode.Name, eligible.FactsOf(tt.vipNode))
			}
			node, pod := tt.node, tt.pod
			if node == nil {
				node = st.MakeNode().Name("n").Obj()
			}
			if pod == nil {
				pod = vipPod("p", "192.0.2.10").Obj()
			}
			info, state := nodeInfo(node, tt.existing...), framework.NewCycleState()
			if _, status := pl.PreFilter(t.Context(), state, pod, []fwk.NodeInfo{info}); !status.IsSuccess() {
				t.Fatalf("PreFilter: %v", status)
			}
			got := pl.Filter(t.Context(), state, pod, info)
			switch {
			case tt.want == nil && !got.IsSuccess():
				t.Errorf("refused: %v", got)
			case tt.want != nil && (got.Code() != tt.want.code || got.Message() != tt.want.message):
				t.Errorf("got %v (%v), want %v", got.Message(), got.Code(), tt.want.message)
			}
		})
	}
}

func TestPreFilter(t *testing.T) {
	tests := []struct {
		name string
		pod  *corev1.Pod
		code fwk.Code
		says string
	}{
		{name: "a placeholder is read", pod: vipPod("p", "192.0.2.10").Obj(), code: fwk.Success},
		{name: "a pod without the label is none of ours", pod: st.MakePod().Name("p").SchedulerName(placeholder.SchedulerName).Obj(), code: fwk.Skip},
		{name: "a pod of another scheduler is none of ours", pod: vipPod("p", "192.0.2.10").SchedulerName("default-scheduler").Obj(), code: fwk.Skip},
		{name: "addresses that can't be read are named", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationAddresses, "192.0.2.300").Obj(),
			code: fwk.UnschedulableAndUnresolvable, says: `"192.0.2.300" is no address`},
		{name: "a label that doesn't fit the address is named", pod: vipPod("p", "192.0.2.10").Label(placeholder.LabelVIP, "web").Obj(),
			code: fwk.UnschedulableAndUnresolvable, says: placeholder.LabelVIP},
		{name: "a weight that can't be read is named", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationWeight, "heavy").Obj(),
			code: fwk.UnschedulableAndUnresolvable, says: placeholder.AnnotationWeight},
		{name: "policy Local without a Service has no endpoints to look for", pod: vipPod("p", "192.0.2.10").Annotation(placeholder.AnnotationPolicy, "Local").Obj(),
			code: fwk.UnschedulableAndUnresolvable, says: placeholder.AnnotationService},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, status := newTestPlugin(t).PreFilter(t.Context(), framework.NewCycleState(), tt.pod, nil)
			if status.Code() != tt.code || !strings.Contains(status.Message(), tt.says) {
				t.Errorf("got %v %q, want %v with %q", status.Code(), status.Message(), tt.code, tt.says)
			}
		})
	}
}

func TestFilterNeedsPreFilter(t *testing.T) {
	status := newTestPlugin(t).Filter(t.Context(), framework.NewCycleState(), vipPod("p", "192.0.2.10").Obj(), nodeInfo(st.MakeNode().Name("n").Obj()))
	if status.Code() != fwk.Error {
		t.Errorf("got %v, want an error", status)
	}
}

// The queue's message is built of the reasons, separated by commas: a comma within one would break the count.
func TestRejectionsReadWellInOneSentence(t *testing.T) {
	for _, r := range []rejection{noAnnouncer, excluded, evacuated, sickDataPlane, noSubnet, noInterface, noCarrier, noEndpoint, sameVIP, poolFull, nodeFull} {
		if !strings.HasPrefix(r.message, "node(s) ") || strings.ContainsAny(r.message, ",.\n") && !strings.Contains(r.message, "kubernetes.io") && !strings.Contains(r.message, "evenkeel.io") {
			t.Errorf("%s: %q doesn't read as a part of a sentence", r.label, r.message)
		}
		if r.status() == r.status() {
			t.Errorf("%s: the status is shared, but the framework writes into it", r.label)
		}
	}
}

func TestNodeStoreReportsWhatFilterWouldSee(t *testing.T) {
	store := newNodeStore()
	node := vipNode("n", alive("eth0", "192.0.2.101/24"))
	if !store.set("n", eligible.FactsOf(node)) {
		t.Error("a new node is a change")
	}
	node.Status.Version = "v2"
	node.Status.Conditions = []metav1.Condition{{Type: v1alpha1.NodeProtected, Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(time.Unix(1, 0))}}
	if store.set("n", eligible.FactsOf(node)) {
		t.Error("what Filter doesn't look at is no change")
	}
	node.Status.Interfaces[0].Carrier = false
	if !store.set("n", eligible.FactsOf(node)) {
		t.Error("a lost carrier is a change")
	}
	store.drop("n")
	if _, ok := store.get("n"); ok {
		t.Error("a dropped node is still known")
	}
}

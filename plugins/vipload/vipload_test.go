package vipload

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// vipPod begins a placeholder for one address.
func vipPod(name, address string) *st.PodWrapper {
	return st.MakePod().Namespace(placeholder.DefaultNamespace).Name(name).UID(name).
		SchedulerName(placeholder.SchedulerName).
		Label(placeholder.LabelVIP, placeholder.VIPName(netip.MustParseAddr(address))).
		Annotation(placeholder.AnnotationAddresses, address)
}

// localPod begins a placeholder of a Service with externalTrafficPolicy Local.
func localPod(name, address, service string) *st.PodWrapper {
	return vipPod(name, address).
		Annotation(placeholder.AnnotationPolicy, "Local").
		Annotation(placeholder.AnnotationService, service)
}

// limitedPod makes a placeholder of a pool that allows so many on a node.
func limitedPod(name, address, pool, most string) *corev1.Pod {
	return vipPod(name, address).Annotation(placeholder.AnnotationPool, pool).Annotation(placeholder.AnnotationMaxVIPsPerNode, most).Obj()
}

// vipNode makes a VIPNode.
func vipNode(name string, interfaces ...v1alpha1.NodeInterface) *v1alpha1.VIPNode {
	return &v1alpha1.VIPNode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     v1alpha1.VIPNodeStatus{Interfaces: interfaces},
	}
}

func alive(name string, addresses ...string) v1alpha1.NodeInterface {
	return v1alpha1.NodeInterface{Name: name, Carrier: true, Addresses: addresses}
}

func dead(name string, addresses ...string) v1alpha1.NodeInterface {
	return v1alpha1.NodeInterface{Name: name, Addresses: addresses}
}

func withDataPlane(node *v1alpha1.VIPNode, status metav1.ConditionStatus) *v1alpha1.VIPNode {
	node.Status.Conditions = []metav1.Condition{{Type: v1alpha1.NodeDataPlaneHealthy, Status: status}}
	return node
}

// endpoint is one endpoint of a slice.
func endpoint(node string, conditions discoveryv1.EndpointConditions) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{NodeName: ptr.To(node), Conditions: conditions}
}

func endpointSlice(service string, family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "web", Name: fmt.Sprintf("%s-%s-%d", service, family, len(endpoints)),
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: family,
		Endpoints:   endpoints,
	}
}

// newTestPlugin makes a plugin that needs no API server.
func newTestPlugin(tb testing.TB, slices ...*discoveryv1.EndpointSlice) *VIPLoad {
	tb.Helper()
	index := noEndpoints()
	for _, slice := range slices {
		if err := index.Add(slice); err != nil {
			tb.Fatal(err)
		}
	}
	pl := newMeasuring(load.DefaultCriteria()...)
	pl.endpoints = index
	return pl
}

// newMeasuring makes a plugin that knows no Services, and compares nodes by criteria.
func newMeasuring(criteria ...load.Criterion) *VIPLoad {
	return &VIPLoad{nodes: newNodeStore(), endpoints: noEndpoints(), tally: newTally(), measure: load.MeasureOf(criteria), meter: load.NewMeter(), clock: clock.RealClock{}}
}

func noEndpoints() cache.Indexer {
	return cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{serviceIndex: indexByService})
}

func nodeInfo(node *corev1.Node, pods ...*corev1.Pod) fwk.NodeInfo {
	info := framework.NewNodeInfo(pods...)
	info.SetNode(node)
	return info
}

func TestVIPLoadIsNoSignPlugin(t *testing.T) {
	if _, ok := any(&VIPLoad{}).(fwk.SignPlugin); ok {
		t.Fatal("VIPLoad signs pods: the scheduler would reuse scores of earlier cycles")
	}
}

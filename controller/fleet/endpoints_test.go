package fleet

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
)

var vipAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.10")}

// aSlice has a ready endpoint on each node; "" is a slice of no Service.
func aSlice(name, service string, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name}, AddressType: discoveryv1.AddressTypeIPv4}
	if service != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	}
	for _, node := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &node, Addresses: []string{"10.0.0." + node}})
	}
	return s
}

func TestANodeThatLacksOnlyEndpointsSaysSo(t *testing.T) {
	var vipNodes []v1alpha1.VIPNode
	var nodes []corev1.Node
	for _, name := range []string{"1", "2", "3"} {
		vipNodes = append(vipNodes, v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.VIPNodeStatus{
			Interfaces: []v1alpha1.NodeInterface{{Name: "eth0", Addresses: []string{"192.0.2.10" + name + "/24"}, Carrier: name != "3"}}}})
		nodes = append(nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	f := Of(vipNodes, nodes, Options{}, time.Unix(0, 0))
	demand := Demand{Addresses: vipAddresses, Local: endpoints.Local{endpoints.Of(aSlice("s", "shop", "1"))}}
	for name, want := range map[string]string{"1": "", "2": failover.NoEndpoint, "3": "NoCarrier"} {
		if got := f.For(demand)[name]; got.Why != want || got.Able != (want == "") {
			t.Errorf("node %s: %+v, want %q", name, got, want)
		}
	}
	demand.Local = nil
	if got := f.For(demand)["2"]; !got.Able {
		t.Errorf("without such a Service: %+v", got)
	}
}

func TestEndpointsTellOnlyWhoseNodesChanged(t *testing.T) {
	e := NewEndpoints()
	var told []string
	e.OnChange(func(service types.NamespacedName) { told = append(told, service.Name) })
	wants := func(step, changed, service, nodes string) {
		t.Helper()
		slices.Sort(told)
		if got := strings.Join(told, " "); got != changed {
			t.Errorf("%s: told of %q, want %q", step, got, changed)
		}
		told = nil
		local, got := endpoints.Local{e.Of(types.NamespacedName{Namespace: "web", Name: service})}, ""
		for _, node := range []string{"1", "2", "3"} {
			if local.Serves(node, vipAddresses) {
				got += node
			}
		}
		if got != nodes {
			t.Errorf("%s: %s is served on %q, want %q", step, service, got, nodes)
		}
	}
	wants("nothing known", "", "shop", "")
	e.Observe(aSlice("s", "shop"))
	wants("a slice without endpoints", "", "shop", "")
	e.Observe(aSlice("s", "shop", "1"))
	wants("a first endpoint", "shop", "shop", "1")
	e.Observe(aSlice("s", "shop", "1", "1"))
	wants("a second one on the same node", "", "shop", "1")
	e.Observe(aSlice("t", "shop", "2"))
	wants("a second slice", "shop", "shop", "12")
	e.Observe(aSlice("s", "blog", "1"))
	wants("a slice that went to another Service", "blog shop", "shop", "2")
	wants("that Service", "", "blog", "1")
	e.Observe(aSlice("s", ""))
	wants("a slice that lost its label", "blog", "blog", "")
	e.Forget(aSlice("t", "shop"))
	wants("the last slice is deleted", "shop", "shop", "")
	e.Forget(aSlice("t", "shop"))
	wants("and deleted again", "", "shop", "")
	if len(e.byName)+len(e.byUser) != 0 {
		t.Errorf("%d slices and %d Services are remembered", len(e.byName), len(e.byUser))
	}
}

package endpoints

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

var (
	v4   = []netip.Addr{netip.MustParseAddr("192.0.2.10")}
	v6   = []netip.Addr{netip.MustParseAddr("2001:db8::10")}
	both = append(append([]netip.Addr{}, v4...), v6...)

	unknown     = discoveryv1.EndpointConditions{}
	ready       = discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(true), Terminating: ptr.To(false)}
	published   = discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(false), Terminating: ptr.To(true)}
	down        = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(false), Terminating: ptr.To(false)}
	draining    = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	oldDraining = discoveryv1.EndpointConditions{Ready: ptr.To(false), Terminating: ptr.To(true)}
	ended       = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(false), Terminating: ptr.To(true)}
	unready     = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true)}
)

func on(node string, c discoveryv1.EndpointConditions) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{NodeName: &node, Addresses: []string{"10.0.0.1"}, Conditions: c}
}

func slice(family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "web", Name: "shop-1", Labels: map[string]string{discoveryv1.LabelServiceName: "shop", "app": "shop"}},
		AddressType: family, Endpoints: endpoints, Ports: []discoveryv1.EndpointPort{{Port: ptr.To[int32](80)}},
	}
}

func ipv4(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return slice(discoveryv1.AddressTypeIPv4, endpoints...)
}

func ipv6(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return slice(discoveryv1.AddressTypeIPv6, endpoints...)
}

func TestServes(t *testing.T) {
	type slices = []*discoveryv1.EndpointSlice
	tests := map[string]struct {
		services []slices
		addrs    []netip.Addr
		want     string // those of a, b and c that serve
		none     bool   // no endpoint anywhere
	}{
		"a VIP of no such Service is served everywhere":            {nil, v4, "abc", false},
		"ready endpoints serve":                                    {[]slices{{ipv4(on("a", ready), on("c", ready))}}, v4, "ac", false},
		"an endpoint that says nothing about itself is ready":      {[]slices{{ipv4(on("a", unknown))}}, v4, "a", false},
		"an unready one that is published all the same serves":     {[]slices{{ipv4(on("a", published))}}, v4, "a", false},
		"what is down doesn't":                                     {[]slices{{ipv4(on("a", down), on("b", ended), on("c", unready))}}, v4, "", true},
		"no slice at all":                                          {[]slices{{}}, v4, "", true},
		"an endpoint of no node is local nowhere":                  {[]slices{{ipv4(discoveryv1.Endpoint{Conditions: ready})}}, v4, "", true},
		"one that drains doesn't count beside a ready one":         {[]slices{{ipv4(on("a", draining), on("b", ready))}}, v4, "b", false},
		"one that drains does where none is ready":                 {[]slices{{ipv4(on("a", draining), on("b", down))}}, v4, "a", false},
		"one that doesn't say whether it serves while it drains":   {[]slices{{ipv4(on("a", oldDraining))}}, v4, "a", false},
		"the ready one may be in another slice":                    {[]slices{{ipv4(on("a", draining)), ipv4(on("b", ready))}}, v4, "b", false},
		"a node with both is ready":                                {[]slices{{ipv4(on("a", draining), on("a", ready), on("b", draining))}}, v4, "a", false},
		"another family's endpoints are none":                      {[]slices{{ipv6(on("a", ready))}}, v4, "", true},
		"both families have to be served":                          {[]slices{{ipv4(on("a", ready), on("b", ready)), ipv6(on("b", ready), on("c", ready))}}, both, "b", false},
		"but for one that nobody serves":                           {[]slices{{ipv4(on("a", ready)), ipv6(on("a", down))}}, both, "a", false},
		"each family falls back by itself":                         {[]slices{{ipv4(on("a", ready), on("b", draining)), ipv6(on("a", draining))}}, both, "a", false},
		"of two Services both have to be served":                   {[]slices{{ipv4(on("a", ready), on("b", ready))}, {ipv4(on("b", ready))}}, v4, "b", false},
		"but for one that nobody serves anywhere":                  {[]slices{{ipv4(on("a", ready))}, {}}, v4, "a", false},
		"with the endpoints of two Services apart no node serves":  {[]slices{{ipv4(on("a", ready))}, {ipv4(on("b", ready))}}, v4, "", false},
		"endpoints by name are of no family":                       {[]slices{{slice(discoveryv1.AddressTypeFQDN, on("a", ready))}}, both, "", true},
		"an IPv6 VIP goes by the IPv6 endpoints":                   {[]slices{{ipv4(on("a", ready)), ipv6(on("b", ready))}}, v6, "b", false},
		"two Services without any endpoint have none between them": {[]slices{{}, {ipv4(on("a", down))}}, v4, "", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var local, stripped Local
			for _, service := range tt.services {
				local = append(local, Of(service...))
				for _, s := range service {
					Strip(s)
				}
				stripped = append(stripped, Of(service...))
			}
			for _, l := range []Local{local, stripped} {
				got := ""
				for _, node := range []string{"a", "b", "c"} {
					if l.Serves(node, tt.addrs) {
						got += node
					}
				}
				if got != tt.want || l.Any(tt.addrs) == tt.none {
					t.Errorf("served on %q, any %t; want %q, none %t", got, l.Any(tt.addrs), tt.want, tt.none)
				}
			}
		})
	}
}

func TestStripKeepsOneEndpointForANodeAndState(t *testing.T) {
	s := ipv4(on("a", ready), on("a", ready), on("b", draining), on("a", draining), on("c", down), discoveryv1.Endpoint{Conditions: ready})
	s.Annotations, s.OwnerReferences, s.ManagedFields = map[string]string{"a": "b"}, []metav1.OwnerReference{{Name: "shop"}}, []metav1.ManagedFieldsEntry{{Manager: "m"}}
	Strip(s)
	bare := func(node string, c discoveryv1.EndpointConditions) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: &node, Conditions: c}
	}
	want := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "web", Name: "shop-1", Labels: map[string]string{discoveryv1.LabelServiceName: "shop"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{bare("a", ready), bare("b", draining), bare("a", draining)},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is stripped away never decides, and a node without any endpoint never serves.
func TestStripChangesNoAnswer(t *testing.T) {
	conditions := []discoveryv1.EndpointConditions{unknown, ready, published, down, draining, oldDraining, ended, unready}
	rapid.Check(t, func(t *rapid.T) {
		var slices []*discoveryv1.EndpointSlice
		named := map[string]bool{}
		for i := range rapid.IntRange(0, 4).Draw(t, "slices") {
			family := rapid.SampledFrom([]discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}).Draw(t, "family")
			var endpoints []discoveryv1.Endpoint
			for range rapid.IntRange(0, 6).Draw(t, "endpoints") {
				node := fmt.Sprintf("n%d", rapid.IntRange(0, 4).Draw(t, "node"))
				named[node] = true
				endpoints = append(endpoints, on(node, rapid.SampledFrom(conditions).Draw(t, "conditions")))
			}
			slices = append(slices, slice(family, endpoints...))
			slices[i].Name = fmt.Sprint("slice-", i)
		}
		before := Of(slices...)
		for _, s := range slices {
			Strip(s)
		}
		after := Of(slices...)
		if !before.Equal(after) || !after.Equal(before) {
			t.Fatalf("before %v, after %v", before, after)
		}
		for i := range 6 {
			node := fmt.Sprintf("n%d", i)
			if (Local{after}).Serves(node, both) && !named[node] {
				t.Fatalf("%s serves without an endpoint", node)
			}
		}
	})
}

package place

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestAPeerNamesFirstTheNICThatAnnounces(t *testing.T) {
	nic := func(name, mac string, carrier bool, addresses ...string) v1alpha1.NodeInterface {
		return v1alpha1.NodeInterface{Name: name, MAC: mac, Carrier: carrier, Addresses: addresses}
	}
	const mac0, mac1, mac2 = "02:00:00:00:00:01", "02:00:00:00:01:01", "02:00:00:00:02:01"
	first := nic("eth0", mac0, true, "192.0.2.101/24", "2001:db8::101/64")
	second := nic("eth1", mac1, true, "203.0.113.101/24", "2001:db8:1::101/64")
	tests := []struct {
		name       string
		vip        []string
		interfaces []string
		nics       []v1alpha1.NodeInterface
		macs       []string
		serving    []string
	}{
		{"the NIC of the VIP's subnet alone", []string{"203.0.113.10"}, nil, []v1alpha1.NodeInterface{first, second}, []string{mac1}, nil},
		{"both addresses on one NIC", []string{"192.0.2.10", "2001:db8::10"}, nil, []v1alpha1.NodeInterface{first, second}, []string{mac0}, nil},
		{"a pair on two NICs: each address has its own", []string{"203.0.113.10", "2001:db8::10"}, nil, []v1alpha1.NodeInterface{first, second},
			[]string{mac1, mac0}, []string{mac1, mac0}},
		{"the longest prefix comes first", []string{"192.0.2.200"}, nil, []v1alpha1.NodeInterface{first, nic("eth2", mac2, true, "192.0.2.201/25")},
			[]string{mac2, mac0}, nil},
		{"unless it has no carrier", []string{"192.0.2.200"}, nil, []v1alpha1.NodeInterface{first, nic("eth2", mac2, false, "192.0.2.201/25")},
			[]string{mac0, mac2}, nil},
		{"of the pool's interfaces the first one", []string{"10.1.2.3"}, []string{"eth1", "eth0"}, []v1alpha1.NodeInterface{first, second}, []string{mac1, mac0}, nil},
		{"with carrier", []string{"10.1.2.3"}, []string{"eth1", "eth0"}, []v1alpha1.NodeInterface{first, nic("eth1", mac1, false)}, []string{mac0, mac1}, nil},
		{"and no other", []string{"192.0.2.10"}, []string{"eth1"}, []v1alpha1.NodeInterface{first, second}, []string{mac1}, nil},
		{"a node without such a NIC", []string{"10.1.2.3"}, nil, []v1alpha1.NodeInterface{first, second}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: "vip"}, Spec: v1alpha1.VIPSpec{Addresses: tt.vip}}
			got := PeerOf("", "node-1", vip, tt.interfaces, &v1alpha1.VIPNode{Status: v1alpha1.VIPNodeStatus{Interfaces: tt.nics}})
			if diff := cmp.Diff(tt.macs, got.MACs); diff != "" {
				t.Errorf("MACs (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.serving, got.Serving); diff != "" {
				t.Errorf("serving (-want +got):\n%s", diff)
			}
			for i := range tt.vip {
				if tt.serving != nil && got.Expected(i)[0] != tt.serving[i] {
					t.Errorf("address %d is expected at %v, want %s first", i, got.Expected(i), tt.serving[i])
				}
			}
			read, err := placeholder.ParsePeers(placeholder.FormatPeers([]placeholder.Peer{got}))
			if err != nil {
				t.Fatal(err)
			}
			same := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			if diff := cmp.Diff([]placeholder.Peer{got}, read, same); diff != "" {
				t.Errorf("read from its annotation (-want +got):\n%s", diff)
			}
		})
	}
}

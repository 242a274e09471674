package suspects

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestANeighbourIsWatchedBehindANICThatWorks(t *testing.T) {
	node := func(name, digit string, carriers ...bool) v1alpha1.VIPNode {
		return v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
			{Name: "eth0", MAC: "02:00:00:00:00:0" + digit, Carrier: carriers[0], Addresses: []string{"192.0.2.10" + digit + "/24"}},
			{Name: "eth1", MAC: "02:00:00:00:01:0" + digit, Carrier: carriers[1], Addresses: []string{"203.0.113.10" + digit + "/24"}},
		}}}
	}
	for _, tt := range []struct {
		name         string
		ours, theirs v1alpha1.VIPNode
		want         string
	}{
		{"the first by name", node("a", "1", true, true), node("b", "2", true, true), "192.0.2.102"},
		{"theirs has no carrier on the first", node("a", "1", true, true), node("b", "2", false, true), "203.0.113.102"},
		{"ours has none", node("a", "1", false, true), node("b", "2", true, true), "203.0.113.102"},
		{"no NIC works at both ends: the first, as before", node("a", "1", true, false), node("b", "2", false, true), "192.0.2.102"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Neighbours("a", []v1alpha1.VIPNode{tt.ours, tt.theirs})
			if len(got) != 1 || got[0].Address != tt.want {
				t.Fatalf("neighbours = %v, want %s", got, tt.want)
			}
			if tt.want == "203.0.113.102" && got[0].MAC != "02:00:00:00:01:02" {
				t.Errorf("MAC = %s, want that of the same NIC", got[0].MAC)
			}
		})
	}
}

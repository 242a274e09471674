package place

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// TestAFormerOwnerIsKnownWhileItStandsBy: connections of its time are served by it, whatever it is now.
func TestAFormerOwnerIsKnownWhileItStandsBy(t *testing.T) {
	place := func(sequence int64, role placeholder.Role, node string, peers []placeholder.Peer) *corev1.Pod {
		pod := Build(subject(), Look{}, Claim{Role: role, Sequence: sequence, Term: sequence, Peers: peers}, nil)
		pod.Spec.NodeName = node
		return pod
	}
	vip := subject().VIP
	vip.Status.Node = ""
	succession := func(live, standby *corev1.Pod) []placeholder.Peer {
		return Places{Live: live, Standbys: []*corev1.Pod{standby}}.Succession(vip, func(string) *v1alpha1.VIPNode { return nil })
	}
	text := func(list []placeholder.Peer) (s string) {
		for _, peer := range list {
			s += fmt.Sprintf("%s %q %v; ", peer.Node, peer.Role, peer.Owned)
		}
		return s
	}
	owner := func(node string) placeholder.Peer { return placeholder.Peer{Node: node} }

	// a had it, b has it, and a stands by again.
	list := succession(place(2, placeholder.Active, "b", []placeholder.Peer{owner("a")}), place(3, placeholder.Standby, "a", nil))
	if got, want := text(list), `b "active" false; a "standby" true; `; got != want {
		t.Fatalf("succession %s, want %s", got, want)
	}
	// c stands by in a's stead.
	list = succession(place(2, placeholder.Active, "b", list), place(4, placeholder.Standby, "c", nil))
	if got, want := text(list), `b "active" false; c "standby" false; a "" false; `; got != want {
		t.Fatalf("succession %s, want %s", got, want)
	}
	// c has it, b stands by.
	list = succession(place(4, placeholder.Active, "c", list), place(5, placeholder.Standby, "b", nil))
	if got, want := text(list), `c "active" false; b "standby" true; a "" false; `; got != want {
		t.Fatalf("succession %s, want %s", got, want)
	}
}

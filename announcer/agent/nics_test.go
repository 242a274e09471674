package agent

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/api/placeholder"
)

// nicOf makes a NIC with carrier and addresses of its own.
func nicOf(name string, index int, addresses ...string) nic.NIC {
	n := nic.NIC{Name: name, Index: index, MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(index)}, Up: true, Carrier: true}
	for _, one := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParsePrefix(one))
	}
	return n
}

func TestEachAddressOfAPairIsGuardedOnItsOwnNIC(t *testing.T) {
	r := newRig(t)
	r.NICsChanged(r.ctx, []nic.NIC{nicOf("eth0", 7, "2001:db8::101/64"), nicOf("eth1", 8, "192.0.2.101/24")})
	p := standbyPod("s")
	p.Annotations[placeholder.AnnotationAddresses] = "192.0.2.10,2001:db8::10"
	third := peerOn("node-3", placeholder.Active, mac3)
	third.MACs = append(third.MACs, mac4.String())
	third.Serving = []string{mac4.String(), mac3.String()}
	p.Annotations[placeholder.AnnotationPeers] = placeholder.FormatPeers([]placeholder.Peer{third, peerOn("node-1", placeholder.Standby, mac1)})
	r.PodChanged(r.ctx, p)
	r.Synced(r.ctx)
	r.turn()
	want := []liveness.Target{
		{Addr: v4, NIC: "eth1", MAC: mac4},
		{Addr: netip.MustParseAddr("2001:db8::10"), NIC: "eth0", MAC: mac3},
	}
	if diff := cmp.Diff(want, r.targets, cmpAddr); diff != "" {
		t.Errorf("whom the watch is told to watch (-want +got):\n%s", diff)
	}
}

func TestTheGuardLearnsTheNICOnlyWhereThereAreOthers(t *testing.T) {
	r := newRig(t)
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.Synced(r.ctx)
	r.turn()
	if got := r.guarded[v4].Interface; got != 0 {
		t.Errorf("interface %d on a node with one NIC, want none: there is no other to keep quiet", got)
	}
	r.NICsChanged(r.ctx, []nic.NIC{nicOf("eth0", 7, "192.0.2.101/24"), nicOf("eth1", 8, "203.0.113.101/24")})
	r.turn()
	if got := r.guarded[v4].Interface; got != 7 {
		t.Errorf("interface %d once there is a second NIC, want 7", got)
	}
	r.NICsChanged(r.ctx, []nic.NIC{nicOf("eth0", 9, "192.0.2.101/24"), nicOf("eth1", 8, "203.0.113.101/24")})
	r.turn()
	if got := r.guarded[v4].Interface; got != 9 {
		t.Errorf("interface %d after the NIC was put back, want 9", got)
	}
}

func TestAVIPWaitsBehindTheNICsOwnAddressAlsoWhereThePoolNamesTheNIC(t *testing.T) {
	r := newRig(t)
	r.NICsChanged(r.ctx, []nic.NIC{nicOf("eth0", 7, "192.0.2.101/24"), nicOf("eth1", 8)})
	r.turn()
	for _, tt := range []struct {
		name       string
		interfaces []string
		want       place.NIC
	}{
		{"by its subnet", nil, place.NIC{Name: "eth0", RequireOwn: true}},
		{"named, with an address of its own", []string{"eth0"}, place.NIC{Name: "eth0", RequireOwn: true}},
		{"named, with none: there is nothing to wait behind", []string{"eth1"}, place.NIC{Name: "eth1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := r.choose(v4, tt.interfaces)
			if err != nil {
				t.Fatal(err)
			}
			if got.Name != tt.want.Name || got.RequireOwn != tt.want.RequireOwn {
				t.Errorf("choose() = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestACarrierThatIsLostMovesOnlyThatNICsVIPs(t *testing.T) {
	r := newRig(t)
	first, second := nicOf("eth0", 7, "192.0.2.101/24"), nicOf("eth1", 8, "203.0.113.101/24")
	r.NICsChanged(r.ctx, []nic.NIC{first, second})
	r.PodChanged(r.ctx, pod("a", "192.0.2.10"))
	r.PodChanged(r.ctx, pod("b", "203.0.113.10"))
	r.Synced(r.ctx)
	r.turn()
	other := netip.MustParseAddr("203.0.113.10")
	for _, addr := range []netip.Addr{v4, other} {
		r.verdicts[addr](place.MAC{}, place.MAC{})
	}
	r.guardInForce()
	r.turn()
	r.log = nil
	second.Carrier = false
	r.NICsChanged(r.ctx, []nic.NIC{first, second})
	r.turn()
	r.expect("silence 203.0.113.10", "cancel probe", "unbind 203.0.113.10")
	if got := r.reports["b"].Reason; got != placeholder.ReasonNoInterface {
		t.Errorf("reason %q, want %q", got, placeholder.ReasonNoInterface)
	}
	// Nobody else names it, and another NIC gets an address in its subnet.
	r.NICsChanged(r.ctx, []nic.NIC{first, second, nicOf("eth2", 9, "203.0.113.102/24")})
	r.turn()
	r.expect("probe 203.0.113.10")
}

func TestANewMACAddressOfANICIsAnnounced(t *testing.T) {
	r := newRig(t)
	r.announced()
	r.log = nil
	bond := nicOf("eth0", 7, "192.0.2.101/24") // with another MAC address than before
	r.NICsChanged(r.ctx, []nic.NIC{bond})
	r.turn()
	r.expect("announce 192.0.2.10")
	r.NICsChanged(r.ctx, []nic.NIC{bond})
	r.turn()
	r.expect()
}

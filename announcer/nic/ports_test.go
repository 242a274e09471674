package nic

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// add makes an interface that is gone after the test, or skips it where the kernel has no such.
func add(t *testing.T, link netlink.Link) {
	t.Helper()
	if err := netlink.LinkAdd(link); err != nil {
		t.Skipf("NOT TESTED: this kernel has no %s: %v", link.Type(), err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	must(t, netlink.LinkSetUp(link))
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// names lists what may carry VIPs, as a new Watcher sees it.
func names(t *testing.T) string {
	t.Helper()
	w, err := NewWatcher(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var list []string
	for _, n := range w.Snapshot() {
		list = append(list, n.Name)
	}
	return strings.Join(list, " ")
}

func TestTheBridgeIsTheNICAndNotItsPorts(t *testing.T) {
	p := nstest.NewPair(t, "eth0")
	if got := names(t); got != "eth0" {
		t.Fatalf("NICs = %q, want eth0", got)
	}
	bridge := &netlink.Bridge{LinkAttrs: attrs("br0")}
	add(t, bridge)
	must(t, netlink.LinkSetMaster(p.Link, bridge))
	if got := names(t); got != "br0" {
		t.Errorf("NICs = %q with eth0 in the bridge, want br0", got)
	}
	must(t, netlink.LinkSetNoMaster(p.Link))
	if got := names(t); got != "br0 eth0" {
		t.Errorf("NICs = %q with eth0 out of it again, want both", got)
	}
}

// TestANICThatBecomesAPortLeaves follows it while it happens, as when an administrator moves a node's address to a bridge.
func TestANICThatBecomesAPortLeaves(t *testing.T) {
	p := nstest.NewPair(t, "eth0")
	bridge := &netlink.Bridge{LinkAttrs: attrs("br0")}
	add(t, bridge)
	w := follow(t)
	has := func(name string, carrier bool) func() bool {
		return func() bool {
			return slices.ContainsFunc(w.Snapshot(), func(n NIC) bool { return n.Name == name && n.Carrier == carrier })
		}
	}
	must(t, netlink.LinkSetMaster(p.Link, bridge))
	nstest.Eventually(t, "the bridge to have a carrier", has("br0", true))
	nstest.Eventually(t, "the port to be none of the NICs", func() bool { return len(w.Snapshot()) == 1 })
	must(t, netlink.LinkSetNoMaster(p.Link))
	nstest.Eventually(t, "the NIC to be back", has("eth0", true))
	nstest.Eventually(t, "the bridge to have lost its carrier with its last port", has("br0", false))
}

func TestABondIsTheNICAndNotItsPorts(t *testing.T) {
	p := nstest.NewPair(t, "eth0")
	bond := netlink.NewLinkBond(attrs("bond0"))
	bond.Mode = netlink.BOND_MODE_ACTIVE_BACKUP
	add(t, bond)
	must(t, netlink.LinkSetDown(p.Link))
	must(t, netlink.LinkSetMaster(p.Link, bond))
	if got := names(t); got != "bond0" {
		t.Errorf("NICs = %q with eth0 in the bond, want bond0", got)
	}
}

func TestAVLANIsANICOfItsOwn(t *testing.T) {
	p := nstest.NewPair(t, "eth0")
	vlan := &netlink.Vlan{LinkAttrs: attrs("eth0.12"), VlanId: 12}
	vlan.ParentIndex = p.Index()
	add(t, vlan)
	if got := names(t); got != "eth0 eth0.12" {
		t.Errorf("NICs = %q, want eth0 and its VLAN", got)
	}
}

func TestAMACVLANIsANICOfItsOwn(t *testing.T) {
	p := nstest.NewPair(t, "eth0")
	macvlan := &netlink.Macvlan{LinkAttrs: attrs("mac0"), Mode: netlink.MACVLAN_MODE_BRIDGE}
	macvlan.ParentIndex = p.Index()
	add(t, macvlan)
	if got := names(t); got != "eth0 mac0" {
		t.Errorf("NICs = %q, want eth0 and mac0", got)
	}
}

func TestABridgeHasNoCarrierWhereNoneOfItsPortsHas(t *testing.T) {
	port := func(index, master int, carrier bool) link {
		return link{Link: rtnl.Link{Index: index, Master: master, Port: true, Carrier: carrier}}
	}
	for _, tt := range []struct {
		name  string
		links []link
		want  bool
	}{
		{"no ports: its own carrier counts", nil, false},
		{"one with carrier", []link{port(1, 9, true)}, false},
		{"one without", []link{port(1, 9, false)}, true},
		{"one of two", []link{port(1, 9, false), port(2, 9, true)}, false},
		{"none of two", []link{port(1, 9, false), port(2, 9, false)}, true},
		{"another bridge's", []link{port(1, 8, false), port(2, 9, true)}, false},
		{"a member of a VRF is no port", []link{{Link: rtnl.Link{Index: 1, Master: 9}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 10 { // in whatever order
				w := Watcher{links: map[int]link{}}
				for _, l := range tt.links {
					w.links[l.Index] = l
				}
				if got := w.darkMasters()[9]; got != tt.want {
					t.Fatalf("dark: %v, want %v", got, tt.want)
				}
			}
		})
	}
}

// TestABridgeWhosePortLosesItsCarrierIsSeenToAtOnce is about the order of news: that of the bridge itself may take a second.
func TestABridgeWhosePortLosesItsCarrierIsSeenToAtOnce(t *testing.T) {
	p := nstest.NewPair(t, "eth0")
	bridge := &netlink.Bridge{LinkAttrs: attrs("br0")}
	add(t, bridge)
	must(t, netlink.LinkSetMaster(p.Link, bridge))
	w := follow(t)
	carrier := func(want bool) func() bool {
		return func() bool {
			return slices.ContainsFunc(w.Snapshot(), func(n NIC) bool { return n.Name == "br0" && n.Carrier == want })
		}
	}
	nstest.Eventually(t, "the bridge's carrier", carrier(true))
	peer, err := p.PeerHandle.LinkByName(p.Peer)
	must(t, err)
	begin := time.Now()
	must(t, p.PeerHandle.LinkSetDown(peer))
	nstest.Eventually(t, "the bridge to have lost it", carrier(false))
	t.Logf("after %s", time.Since(begin))
}

func TestWhatMayAnnounce(t *testing.T) {
	mac := []byte{2, 0, 0, 0, 0, 1}
	for _, tt := range []struct {
		name string
		link rtnl.Link
		want bool
	}{
		{"a NIC", rtnl.Link{MAC: mac}, true},
		{"a port of a bridge or a bond", rtnl.Link{MAC: mac, Port: true}, false},
		{"a tunnel without addresses of its own", rtnl.Link{}, false},
		{"a tunnel whose address is an IPv4 address", rtnl.Link{MAC: mac[:4]}, false},
		{"InfiniBand", rtnl.Link{MAC: make([]byte, 20)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mayAnnounce(tt.link); got != tt.want {
				t.Errorf("mayAnnounce() = %v, want %v", got, tt.want)
			}
		})
	}
}

package quiet

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/address/nstest"
	"evenkeel.io/evenkeel/announcer/arp"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/ndp"
	"evenkeel.io/evenkeel/announcer/probe"
	"evenkeel.io/evenkeel/announcer/protect"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var (
	vip4 = netip.MustParseAddr("192.0.2.10")
	vip6 = netip.MustParseAddr("2001:db8::10")
)

// silence is how long an answer that must not come is waited for, patience for one that must.
const (
	silence  = 300 * time.Millisecond
	patience = 20 * time.Second
)

// node has two NICs, on a segment each, and the VIPs on the first.
type node struct{ first, second *nstest.Pair }

func newNode(t *testing.T) node {
	n := node{nstest.NewPair(t, "nic0"), nstest.NewPair(t, "nic1")}
	n.first.AddAddr(t, "192.0.2.1/24")
	n.first.AddAddr(t, "2001:db8::1/64")
	n.second.AddAddr(t, "203.0.113.1/24")
	n.second.AddAddr(t, "2001:db8:1::1/64")
	b, err := address.New(address.Options{Lifetime: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	for _, vip := range []netip.Addr{vip4, vip6} {
		if err := b.Bind(t.Context(), address.Binding{Addr: vip, Interface: n.first.Index(), RequireOwn: true}); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// link is ARP or neighbour discovery on one end of a wire.
type link interface {
	Probe(addr netip.Addr) error
	Run(ctx context.Context, hear func(probe.Heard)) error
	Close() error
}

// answers asks from the other end of a NIC's wire who has addr, and returns the MAC address that answers within the time given, the
// zero one if none does.
func answers(t *testing.T, p *nstest.Pair, addr netip.Addr, within time.Duration) wire.MAC {
	t.Helper()
	var l link
	p.InPeer(t, func() {
		ifi, err := net.InterfaceByName(p.Peer)
		if err != nil {
			t.Fatal(err)
		}
		if addr.Is4() {
			l, err = arp.Listen(ifi)
		} else {
			l, err = ndp.Listen(ifi)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	heard := make(chan wire.MAC, 1)
	done := make(chan error, 1)
	go func() {
		done <- l.Run(ctx, func(h probe.Heard) {
			if h.Addr == addr && h.Owner() {
				select {
				case heard <- h.MAC:
				default:
				}
			}
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = l.Close()
	}()
	for {
		if err := l.Probe(addr); err != nil {
			t.Fatal(err)
		}
		select {
		case mac := <-heard:
			return mac
		case <-ctx.Done():
			return wire.MAC{}
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func macOf(t *testing.T, p *nstest.Pair) wire.MAC {
	t.Helper()
	l, err := netlink.LinkByIndex(p.Index())
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := wire.MACFrom(l.Attrs().HardwareAddr)
	return mac
}

func open(t *testing.T, o Options) *Table {
	t.Helper()
	table, err := New(o)
	if err == nil {
		err = table.Open(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Set(context.Background(), nil); err != nil {
			t.Error(err)
		}
		if err := table.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return table
}

func set(t *testing.T, table *Table, entries ...protect.Entry) {
	t.Helper()
	if err := table.Set(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

func TestAVIPIsAnsweredForOnItsOwnNICAlone(t *testing.T) {
	n := newNode(t)
	expect := func(what string, p *nstest.Pair, addr netip.Addr, want wire.MAC) {
		t.Helper()
		within := patience
		if want == (wire.MAC{}) {
			within = silence
		}
		if got := answers(t, p, addr, within); got != want {
			t.Errorf("%s: %s answers for %s, want %s", what, got, addr, want)
		}
	}
	first, second := macOf(t, n.first), macOf(t, n.second)
	// What Linux does by itself, or the rest of this test shows nothing.
	expect("without the table", n.second, vip4, second)
	expect("neighbour discovery needs no table", n.second, vip6, wire.MAC{})
	expect("neighbour discovery on the VIP's NIC", n.first, vip6, first)

	table := open(t, Options{})
	set(t, table, protect.Entry{Addr: vip4, Interface: n.first.Index()}, protect.Entry{Addr: vip6, Interface: n.first.Index()})
	expect("on the VIP's NIC", n.first, vip4, first)
	expect("on the other", n.second, vip4, wire.MAC{})
	expect("the node's own address is no VIP", n.second, netip.MustParseAddr("192.0.2.1"), second)
	if err := table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("renewed", n.second, vip4, wire.MAC{})

	// A next process finds what this one left, also before it knows the NICs.
	next := open(t, Options{})
	set(t, next, protect.Entry{Addr: vip4})
	expect("after a restart", n.second, vip4, wire.MAC{})
	expect("after a restart, on the VIP's NIC", n.first, vip4, first)

	// It moves to the other NIC.
	set(t, next, protect.Entry{Addr: vip4, Interface: n.second.Index()})
	expect("moved away", n.first, vip4, wire.MAC{})
	expect("moved here", n.second, vip4, second)
	set(t, next)
	expect("no VIP any more", n.first, vip4, first)
}

func TestWhatIsNotRenewedEnds(t *testing.T) {
	n := newNode(t)
	table := open(t, Options{Timeout: time.Second})
	set(t, table, protect.Entry{Addr: vip4, Interface: n.first.Index()})
	if got := answers(t, n.second, vip4, silence); got != (wire.MAC{}) {
		t.Fatalf("%s answers on the other NIC", got)
	}
	if got := answers(t, n.second, vip4, patience); got != macOf(t, n.second) {
		t.Errorf("%s answers on the other NIC once the element has ended, want the kernel to be as it was", got)
	}
	// The elements of a VIP that is let go of may have ended by then.
	set(t, table)
}

// TestRepliesPass: the answers to what the node asks with a VIP as its sender reach it on any NIC.
func TestRepliesPass(t *testing.T) {
	n := newNode(t)
	n.second.AddPeerAddr(t, "203.0.113.2/24")
	table := open(t, Options{})
	set(t, table, protect.Entry{Addr: vip4, Interface: n.first.Index()})
	// A packet from the VIP to a machine behind the other NIC: Linux asks for that with the VIP as its sender.
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: vip4.AsSlice()}, &net.UDPAddr{IP: net.IPv4(203, 0, 113, 2), Port: 9})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	nstest.Eventually(t, "the neighbour to be known", func() bool {
		_, _ = conn.Write([]byte("x"))
		list, err := netlink.NeighList(n.second.Index(), netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			if one.IP.Equal(net.IPv4(203, 0, 113, 2)) && one.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY) != 0 {
				return true
			}
		}
		return false
	})
}

func TestManyVIPsAndAReloadOfTheFirewall(t *testing.T) {
	n := newNode(t)
	table := open(t, Options{})
	var entries []protect.Entry
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * batch / 2 {
		addr = addr.Next()
		entries = append(entries, protect.Entry{Addr: addr, Interface: n.first.Index()})
	}
	set(t, table, entries...)
	held := func() int {
		next, err := New(Options{})
		if err == nil {
			err = next.Open(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return len(next.have)
	}
	if got := held(); got != len(entries) {
		t.Errorf("the kernel holds %d addresses, want %d", got, len(entries))
	}
	gone, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(t.Context()); err != nil { // it knows of none, and deletes the table with all that is in it
		t.Fatal(err)
	}
	if err := table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := held(); got != len(entries) {
		t.Errorf("the kernel holds %d addresses after a renewal, want %d", got, len(entries))
	}
}

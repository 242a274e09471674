package traffic

import (
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestWhatAVIPCarriesIsCountedBothWays(t *testing.T) {
	for _, tt := range []struct {
		name       string
		v6, remote bool
		header     uint64 // of IP and UDP
	}{
		{"IPv4, to a process of the node", false, false, 20 + 8},
		{"IPv4, to a pod of another node", false, true, 20 + 8},
		{"IPv6, to a process of the node", true, false, 40 + 8},
		{"IPv6, to a pod of another node", true, true, 40 + 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLAN(t, tt.v6, tt.remote)
			exchange(t, l.dial(t, "udp", l.vip), 10, 200) // before it is counted
			l.set(t, l.vip)
			const conns, packets, size = 5, 100, 400
			for range conns {
				exchange(t, l.dial(t, "udp", l.vip), packets, size)
			}
			sent := Counts{Bytes: 2 * conns * packets * (size + tt.header), Packets: 2 * conns * packets, Connections: conns}
			if got := read(t, l.table)[l.vip]; !within(got, sent) {
				t.Errorf("counted %+v, sent %+v", got, sent)
			}
			before := read(t, l.table)[l.vip]
			// What nobody answers is one connection all the same.
			silent := l.dial(t, "udp", l.vip)
			mute(t, l)
			for range 50 {
				if _, err := silent.Write([]byte("anybody?")); err != nil {
					t.Fatal(err)
				}
			}
			nstest.Eventually(t, "50 packets", func() bool { return read(t, l.table)[l.vip].since(before).Packets >= 50 })
			if got := read(t, l.table)[l.vip].since(before); got.Connections != 1 || got.Packets > 51 {
				t.Errorf("50 packets that nobody answers count as %+v, want one connection", got)
			}
		})
	}
}

// mute has the client's packets to port 80 arrive at a backend that doesn't answer: another address that nobody serves.
func mute(t *testing.T, l *lan) {
	t.Helper()
	l.backend.In(t, func() {
		out, err := exec.CommandContext(t.Context(), "nft", "add table inet mute; add chain inet mute out { type filter hook output priority 0; }; add rule inet mute out meta l4proto udp drop").CombinedOutput()
		if err != nil {
			t.Skipf("nft: %v %s", err, out)
		}
	})
}

// within says whether what was counted is within 2 % of what was sent, and the connections exactly.
func within(got, sent Counts) bool {
	near := func(a, b uint64) bool { return max(a, b)-min(a, b) <= b/50 }
	return near(got.Bytes, sent.Bytes) && near(got.Packets, sent.Packets) && got.Connections == sent.Connections
}

func TestTCPConnectionsAreCountedOnce(t *testing.T) {
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, v6, true)
			l.set(t, l.vip)
			const conns, size = 20, 10_000
			for range conns {
				conn := l.dial(t, "tcp", l.vip)
				exchange(t, conn, 3, size)
				_ = conn.Close()
			}
			got := read(t, l.table)[l.vip]
			if got.Connections != conns || got.Bytes < 2*conns*3*size || got.Bytes > 2*conns*3*size*11/10 {
				t.Errorf("counted %+v, want %d connections and little more than %d bytes", got, conns, 2*conns*3*size)
			}
		})
	}
}

func TestOnlyBoundVIPsCount(t *testing.T) {
	l := newLAN(t, false, false)
	other := netip.MustParseAddr("192.0.2.11")
	l.set(t, other)
	exchange(t, l.dial(t, "udp", l.vip), 10, 100)
	if got := read(t, l.table); len(got) != 1 || got[other] != (Counts{}) {
		t.Errorf("counted %v, want nothing of another VIP", got)
	}
	l.set(t, l.vip)
	exchange(t, l.dial(t, "udp", l.vip), 10, 100)
	if got := read(t, l.table); len(got) != 1 || got[l.vip].Packets != 20 {
		t.Errorf("counted %v, want 20 packets", got)
	}
	// One more VIP changes nothing for the first one.
	l.set(t, l.vip, other)
	exchange(t, l.dial(t, "udp", l.vip), 10, 100)
	if got := read(t, l.table); len(got) != 2 || got[l.vip].Packets != 40 {
		t.Errorf("counted %v, want 40 packets", got)
	}
	l.set(t)
	if got := read(t, l.table); len(got) != 0 {
		t.Errorf("counted %v, want nothing", got)
	}
}

func TestPingsDoNotCount(t *testing.T) {
	for name, v6 := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t, v6, false)
			l.set(t, l.vip)
			l.client.In(t, func() {
				if out, err := exec.CommandContext(t.Context(), "ping", "-c", "3", "-i", "0.05", l.vip.String()).CombinedOutput(); err != nil {
					t.Skipf("ping: %v %s", err, out)
				}
			})
			if got := read(t, l.table)[l.vip]; got != (Counts{}) {
				t.Errorf("counted %+v, want nothing", got)
			}
		})
	}
}

func TestTheRulesetCanBeListed(t *testing.T) {
	l := newLAN(t, true, true)
	l.set(t, l.vip, netip.MustParseAddr("192.0.2.10"))
	exchange(t, l.dial(t, "udp", l.vip), 10, 100)
	var listed string
	for _, args := range [][]string{{"-j", "list", "ruleset"}, {"list", "ruleset"}} {
		l.node.In(t, func() {
			out, err := exec.CommandContext(t.Context(), "nft", args...).CombinedOutput()
			if errors.Is(err, exec.ErrNotFound) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatalf("nft %v: %v\n%s", args, err, out)
			}
			listed = string(out)
		})
	}
	for _, want := range []string{
		"table inet " + DefaultName, "ip6 daddr @in6", "ip saddr @out4", "ct status", "ip daddr @new4", "ip6 daddr @new6", "meta l4proto != ipv6-icmp",
		"2001:db8::10", "counter packets 10 bytes 1480",
	} {
		if !strings.Contains(listed, want) {
			t.Errorf("nft lists no %q", want)
		}
	}
	if t.Failed() {
		t.Log(listed)
	}
}

// TestWhatIsHandedOnCountsWhereItCameIn: a copy that another node handed on is for no VIP that is bound here.
func TestWhatIsHandedOnCountsWhereItCameIn(t *testing.T) {
	l := newLAN(t, false, false)
	l.set(t, l.vip)
	conn := l.dial(t, "tcp", l.vip)
	exchange(t, conn, 1, 100)
	before := read(t, l.table)[l.vip]
	// The VIP moves on: the established connection is served as before, but not counted here.
	l.node.DelAddr(t, netip.PrefixFrom(l.vip, l.vip.BitLen()).String())
	l.client.Neighbour(t, l.vip, l.node.MAC)
	l.set(t)
	exchange(t, conn, 10, 100)
	if got := read(t, l.table); len(got) != 0 || before.Packets == 0 {
		t.Errorf("counted %v after the VIP had left, %+v before", got, before)
	}
}

// TestWhatIsToBeHandedOnIsNoNewConnection: conntrack takes each packet of a connection that another node serves for a new one, and it is
// dropped once it has been copied there.
func TestWhatIsToBeHandedOnIsNoNewConnection(t *testing.T) {
	l := newLAN(t, false, false)
	l.set(t, l.vip)
	conn := l.dial(t, "tcp", l.vip)
	exchange(t, conn, 1, 100)
	c := &nftables.Conn{NetNS: int(l.node.NS)}
	table := c.AddTable(&nftables.Table{Name: "handing", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "pre", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting,
		Priority: nftables.ChainPriorityRef(-140), // as package handoff's
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(l4proto(expr.CmpOpEq, unix.IPPROTO_TCP), &expr.Verdict{Kind: expr.VerdictDrop})})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := l.node.Handle.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		t.Fatal(err)
	}
	before := read(t, l.table)[l.vip]
	for range 3 {
		if _, err := conn.Write([]byte("who serves me?")); err != nil {
			t.Fatal(err)
		}
	}
	nstest.Eventually(t, "3 packets", func() bool { return read(t, l.table)[l.vip].since(before).Packets >= 3 })
	if got := read(t, l.table)[l.vip].since(before); got.Connections != 0 || got.Bytes < 3*(52+14) {
		t.Errorf("packets of a connection that another node serves count as %+v, want no new connection", got)
	}
}

func BenchmarkReading100VIPs(b *testing.B) {
	table := newTable(b, TableOptions{})
	var addrs []netip.Addr
	for i := range 100 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	if err := table.Set(b.Context(), addrs); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := len(read(b, table)); got != 100 {
			b.Fatal(got)
		}
	}
}

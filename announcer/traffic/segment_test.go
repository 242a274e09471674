package traffic

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

// patient is how long what must succeed may take.
const patient = 20 * time.Second

// lan is a segment with a client, a node that has a VIP and translates it as kube-proxy does, and the host that has the backend.
type lan struct {
	client, node, backend *nstest.Host
	vip, own, target      netip.Addr
	table                 *Table
}

// newLAN makes a LAN whose backend is a process on the node itself, or a pod elsewhere that the node reaches by masquerading.
func newLAN(t *testing.T, v6, remote bool) *lan {
	l := &lan{vip: netip.MustParseAddr("192.0.2.10"), own: netip.MustParseAddr("192.0.2.1"), target: netip.MustParseAddr("192.0.2.1")}
	client, pod, bits := "192.0.2.100", "192.0.2.50", 24
	if v6 {
		l.vip, l.own, l.target = netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::1")
		client, pod, bits = "2001:db8::100", "2001:db8::50", 64
	}
	segment := nstest.NewSegment(t)
	l.client = segment.Host(t, fmt.Sprintf("%s/%d", client, bits))
	l.node = segment.Host(t, netip.PrefixFrom(l.own, bits).String())
	// As the announcer binds it: were it not deprecated, the kernel might masquerade with it.
	bound := &netlink.Addr{IPNet: netipx.PrefixIPNet(netip.PrefixFrom(l.vip, l.vip.BitLen())), ValidLft: 3600}
	if v6 {
		bound.Flags = unix.IFA_F_NODAD
	}
	if err := l.node.Handle.AddrAdd(l.node.Link, bound); err != nil {
		t.Fatal(err)
	}
	l.backend = l.node
	if remote {
		l.backend, l.target = segment.Host(t, fmt.Sprintf("%s/%d", pod, bits)), netip.MustParseAddr(pod)
	}
	l.serve(t)
	l.translate(t)
	l.table = newTable(t, TableOptions{NetNS: int(l.node.NS)})
	return l
}

// newTable makes a Table and opens it. It is removed after the test.
func newTable(t testing.TB, opts TableOptions) *Table {
	t.Helper()
	nstest.Require(t)
	table, err := NewTable(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return table
}

// serve sends back whatever comes to the backend's port 8080, by TCP and UDP.
func (l *lan) serve(t *testing.T) {
	t.Helper()
	at := netip.AddrPortFrom(l.target, 8080).String()
	var packets net.PacketConn
	var listener net.Listener
	var err, err2 error
	l.backend.In(t, func() {
		packets, err = net.ListenPacket("udp", at)
		listener, err2 = net.Listen("tcp", at)
	})
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(buf[:n], from)
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			_, _ = io.Copy(conn, conn)
			stop()
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		cancel()
		_, _ = packets.Close(), listener.Close()
		<-done
		<-done
	})
}

// translate is the part of kube-proxy that matters here: the VIP's port 80 becomes the backend's 8080, and who asks becomes the node.
func (l *lan) translate(t *testing.T) {
	t.Helper()
	for _, name := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		l.node.In(t, func() {
			if err := os.WriteFile("/proc/sys/"+name, []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
		})
	}
	f := families[0]
	if l.vip.Is6() {
		f = families[1]
	}
	c := &nftables.Conn{NetNS: int(l.node.NS)}
	table := c.AddTable(&nftables.Table{Name: "proxy", Family: nftables.TableFamilyINet})
	pre := c.AddChain(&nftables.Chain{
		Name: "pre", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	post := c.AddChain(&nftables.Chain{
		Name: "post", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	to := func(addr netip.Addr) []expr.Any {
		return append(f.isFamily(),
			&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: f.daddr, Len: f.len},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: addr.AsSlice()})
	}
	for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		c.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: append(append(to(l.vip), l4proto(expr.CmpOpEq, proto)...),
			&expr.Immediate{Register: 1, Data: l.target.AsSlice()},
			&expr.Immediate{Register: 2, Data: []byte{8080 >> 8, 8080 & 0xff}},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.nfproto), RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		)})
	}
	if l.target != l.own {
		c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(to(l.target), &expr.Masq{})})
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// dial connects the client to port 80 of an address.
func (l *lan) dial(t *testing.T, network string, to netip.Addr) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	l.client.In(t, func() {
		conn, err = (&net.Dialer{Timeout: patient}).DialContext(t.Context(), network, netip.AddrPortFrom(to, 80).String())
	})
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(patient))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// exchange sends so many packets of a size on a connection and has each sent back.
func exchange(t *testing.T, conn net.Conn, packets, size int) {
	t.Helper()
	sent, back := bytes.Repeat([]byte("x"), size), make([]byte, size)
	for range packets {
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, back); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *lan) set(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	if err := l.table.Set(t.Context(), addrs); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, table *Table) map[netip.Addr]Counts {
	t.Helper()
	counts, err := table.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

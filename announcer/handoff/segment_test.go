package handoff

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

// patient is how long what must succeed may take, and stalled how long what must not is tried.
const (
	patient = 20 * time.Second
	stalled = 600 * time.Millisecond
)

// lan is a segment with a client and nodes that each translate the VIP's port 80 to a server of their own, as kube-proxy does.
type lan struct {
	segment *nstest.Segment
	client  *nstest.Host
	vip     netip.Addr
	nodes   []*node
}

type node struct {
	*nstest.Host
	name  string
	own   netip.Addr
	table *Table
}

// newLAN makes a LAN of n nodes: a, b, c and so on.
func newLAN(t *testing.T, n int, v6 bool) *lan {
	l := &lan{segment: nstest.NewSegment(t), vip: netip.MustParseAddr("192.0.2.10")}
	client, own, bits := "192.0.2.100", "192.0.2.%d", 24
	if v6 {
		l.vip = netip.MustParseAddr("2001:db8::10")
		client, own, bits = "2001:db8::100", "2001:db8::%d", 64
	}
	l.client = l.segment.Host(t, fmt.Sprintf("%s/%d", client, bits))
	for i := range n {
		nd := &node{name: string(rune('a' + i)), own: netip.MustParseAddr(fmt.Sprintf(own, i+1))}
		nd.Host = l.segment.Host(t, netip.PrefixFrom(nd.own, bits).String())
		nd.serve(t)
		nd.translate(t, l.vip)
		l.nodes = append(l.nodes, nd)
	}
	return l
}

// open opens each node's table.
func (l *lan) open(t *testing.T) {
	for _, nd := range l.nodes {
		nd.open(t, Options{})
	}
}

func (nd *node) open(t *testing.T, o Options) State {
	t.Helper()
	o.NetNS = int(nd.NS)
	var err error
	if nd.table, err = New(o); err != nil {
		t.Fatal(err)
	}
	state, err := nd.table.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// guarded is a state in which a node guards the VIP, hands on to others, and knows all other nodes' MAC addresses.
func (l *lan) guarded(nd *node, to ...*node) State {
	s := State{Guards: []Guard{{VIP: l.vip, Interface: nd.Index()}}}
	for _, other := range l.nodes {
		if other != nd {
			s.Peers = append(s.Peers, MAC(other.MAC))
		}
	}
	for i, other := range to {
		s.Entries = append(s.Entries, Entry{VIP: l.vip, Interface: nd.Index(), Slot: i, To: other.own, Node: other.name, Started: time.Now()})
	}
	return s
}

func (nd *node) set(t *testing.T, s State) {
	t.Helper()
	if err := nd.table.Set(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// move gives the VIP to a node, which the client learns at once; from may be nil.
func (l *lan) move(t *testing.T, from, to *node) {
	t.Helper()
	cidr := netip.PrefixFrom(l.vip, l.vip.BitLen()).String()
	to.AddAddr(t, cidr)
	l.client.Neighbour(t, l.vip, to.MAC)
	if from != nil {
		from.DelAddr(t, cidr)
	}
}

// serve answers each line with the node's name.
func (nd *node) serve(t *testing.T) {
	var listener net.Listener
	var err error
	nd.In(t, func() { listener, err = net.Listen("tcp", netip.AddrPortFrom(nd.own, 8080).String()) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	conns := make(chan net.Conn, 100)
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns <- conn
			go func() {
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					if _, err := fmt.Fprintln(conn, nd.name); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		close(conns)
		for conn := range conns {
			_ = conn.Close()
		}
	})
}

// translate is the part of kube-proxy that matters here.
func (nd *node) translate(t *testing.T, vip netip.Addr) {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(nd.NS)))
	if err != nil {
		t.Fatal(err)
	}
	f := families[0]
	if vip.Is6() {
		f = families[1]
	}
	table := c.AddTable(&nftables.Table{Name: "proxy", Family: f.table})
	chain := c.AddChain(&nftables.Chain{
		Name: "pre", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	family := uint32(unix.NFPROTO_IPV4)
	if f.v6 {
		family = unix.NFPROTO_IPV6
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.daddr, Len: f.len()},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: vip.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 80}},
		&expr.Immediate{Register: 1, Data: nd.own.AsSlice()},
		&expr.Immediate{Register: 2, Data: []byte{8080 >> 8, 8080 & 0xff}},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// flow is a client's connection to the VIP.
type flow struct {
	net.Conn
	lines *bufio.Reader
}

func (l *lan) connect(t *testing.T) *flow {
	t.Helper()
	var conn net.Conn
	var err error
	l.client.In(t, func() {
		conn, err = (&net.Dialer{Timeout: patient}).Dial("tcp", netip.AddrPortFrom(l.vip, 80).String())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &flow{conn, bufio.NewReader(conn)}
}

// ask returns who answers on the connection.
func (f *flow) ask(patience time.Duration) (string, error) {
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(f, "who"); err != nil {
		return "", err
	}
	line, err := f.lines.ReadString('\n')
	return line, err
}

// answered fails the test unless the node answers on the connection, many times.
func (f *flow) answered(t *testing.T, want *node) {
	t.Helper()
	for range 20 {
		if got, err := f.ask(patient); err != nil || got != want.name+"\n" {
			t.Fatalf("answered by %q, %v; want %s", got, err, want.name)
		}
	}
}

// quiet waits until nothing more is sent on a connection that was answered: the last acknowledgement may be held back for 200 ms
// (include/net/tcp.h, TCP_DELACK_MAX).
func (f *flow) quiet() { time.Sleep(300 * time.Millisecond) }

// dead fails the test unless the connection is reset or stalls.
func (f *flow) dead(t *testing.T) {
	t.Helper()
	got, err := f.ask(stalled)
	if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("answered by %q, %v; want it to be reset or to stall", got, err)
	}
}

// setting writes a sysctl of a node's network namespace.
func (nd *node) setting(t *testing.T, name, value string) {
	t.Helper()
	nd.In(t, func() {
		// /proc/thread-self is of this thread's namespace.
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	})
}

package protect

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/address/nstest"
)

const (
	// dropped is how long a connection that must not succeed is tried.
	dropped = 700 * time.Millisecond
	// patient is how long one that must succeed may take.
	patient = 20 * time.Second
)

// node is the tests' namespace as a cluster node with a VIP, seen by a client in the peer's.
type node struct {
	*nstest.Pair
	vip, own netip.Addr
}

// newNode binds vip next to own, serves "ssh" on 2222, a hand-written placeholder on 9090 and the Service's backend on
// own:8080, and translates as kube-proxy would: vip:80 and the NodePort 30080 to the backend.
func newNode(t *testing.T, vip, own netip.Addr, client string, bits int) *node {
	n := &node{Pair: nstest.NewPair(t, "nic0"), vip: vip, own: own}
	n.AddAddr(t, netip.PrefixFrom(own, bits).String())
	n.AddPeerAddr(t, client)
	b, err := address.New(address.Options{Lifetime: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if err := b.Bind(t.Context(), address.Binding{Addr: vip, Interface: n.Index(), RequireOwn: true}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"[::]:2222", "[::]:9090", netip.AddrPortFrom(own, 8080).String()} {
		serve(t, at)
	}
	translate(t, vip, netip.AddrPortFrom(own, 8080), 80, 30080)
	return n
}

// serve answers each connection with a line that says which listener it is.
func serve(t *testing.T, at string) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(conn, "hello from", at)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
}

// translate is the part of kube-proxy that matters here: DNAT for packets that arrive and for the node's own.
func translate(t *testing.T, vip netip.Addr, backend netip.AddrPort, ports ...uint16) {
	t.Helper()
	const name = "proxy"
	c := &nftables.Conn{}
	table := c.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	t.Cleanup(func() { removeTable(t, name) })
	f := families[0]
	if vip.Is6() {
		f = families[1]
	}
	for hook, h := range map[string]*nftables.ChainHook{"pre": nftables.ChainHookPrerouting, "out": nftables.ChainHookOutput} {
		chain := c.AddChain(&nftables.Chain{
			Name: hook, Table: table, Type: nftables.ChainTypeNAT, Hooknum: h, Priority: nftables.ChainPriorityNATDest,
		})
		for _, port := range ports {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg0}, equal(f.nfproto),
				f.loadDaddr(), &expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: vip.AsSlice()},
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, equal(byte(TCP)),
				&expr.Payload{DestRegister: reg0, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{byte(port >> 8), byte(port)}},
				&expr.Immediate{Register: 1, Data: backend.Addr().AsSlice()},
				&expr.Immediate{Register: 2, Data: []byte{byte(backend.Port() >> 8), byte(backend.Port())}},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.nfproto), RegAddrMin: 1, RegProtoMin: 2, Specified: true},
			}})
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// dial connects from this thread's namespace and returns the listener's line.
func dial(to netip.AddrPort, timeout time.Duration) (string, error) {
	conn, err := net.DialTimeout("tcp", to.String(), timeout)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, err
}

// ping sends one echo request from this thread's namespace and waits for the answer.
func ping(to netip.Addr) error {
	network, listen, proto := "ip4:icmp", "0.0.0.0", 1
	var typ icmp.Type = ipv4.ICMPTypeEcho
	var answer icmp.Type = ipv4.ICMPTypeEchoReply
	if to.Is6() {
		network, listen, proto, typ, answer = "ip6:ipv6-icmp", "::", 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	conn, err := icmp.ListenPacket(network, listen)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	msg, err := (&icmp.Message{Type: typ, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Data: []byte("evenkeel")}}).Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := conn.WriteTo(msg, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patient)); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		reply, err := icmp.ParseMessage(proto, buf[:n])
		if err == nil && reply.Type == answer && from.String() == to.String() {
			return nil
		}
	}
}

func TestOnlyTheServicesPortsReachAVIP(t *testing.T) {
	for _, tt := range []struct {
		name     string
		vip, own netip.Addr
		client   string
		bits     int
	}{
		{"IPv4", vip4, netip.MustParseAddr("192.0.2.1"), "192.0.2.2/24", 24},
		{"IPv6", vip6, netip.MustParseAddr("2001:db8::1"), "2001:db8::2/64", 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, tt.vip, tt.own, tt.client, tt.bits)
			// Without protection everything answers: the tests below would see a listener that is reachable.
			for _, port := range []uint16{80, 30080, 2222, 9090} {
				n.answers(t, tt.vip, port)
			}
			n.answersHere(t, tt.vip, 2222)

			table := open(t, Options{})
			set(t, table, Entry{Addr: tt.vip, Ports: []Port{{TCP, 80}, {UDP, 2222}}})
			n.answers(t, tt.vip, 80)
			n.answersHere(t, tt.vip, 80)
			n.silent(t, tt.vip, 2222)
			n.silent(t, tt.vip, 30080)
			n.silent(t, tt.vip, 9090)
			n.silentHere(t, tt.vip, 2222)
			n.answers(t, tt.own, 2222)
			n.answersHere(t, tt.own, 2222)
			n.InPeer(t, func() {
				if err := ping(tt.vip); err != nil {
					t.Error("pinging the VIP:", err)
				}
			})

			// A port of the Service that nobody translates is not the host's listener.
			set(t, table, Entry{Addr: tt.vip, Ports: []Port{{TCP, 9090}}})
			n.silent(t, tt.vip, 9090)
			n.silent(t, tt.vip, 80)
			// A placeholder written by hand names the ports that the host itself serves.
			set(t, table, Entry{Addr: tt.vip, Ports: []Port{{TCP, 9090}}, Local: true})
			n.answers(t, tt.vip, 9090)
			n.answersHere(t, tt.vip, 9090)
			n.silent(t, tt.vip, 2222)
			// Nothing is protected any more.
			set(t, table)
			n.answers(t, tt.vip, 2222)
		})
	}
}

// TestProtectionHasNoGap opens connections all the time while elements are renewed and a next process takes over: none
// to the Service's port fails, and none to another port succeeds.
func TestProtectionHasNoGap(t *testing.T) {
	n := newNode(t, vip4, netip.MustParseAddr("192.0.2.1"), "192.0.2.2/24", 24)
	table := open(t, Options{})
	entry := Entry{Addr: vip4, Ports: []Port{{TCP, 80}}}
	set(t, table, entry)
	done := make(chan struct{})
	errs := make(chan error, 1)
	go func() {
		defer close(errs)
		for {
			select {
			case <-done:
				return
			default:
			}
			again, err := New(Options{})
			if err == nil {
				err = again.Open(t.Context())
			}
			if err == nil {
				err = again.Set(t.Context(), []Entry{entry})
			}
			if err == nil {
				err = again.Renew(t.Context())
			}
			if err != nil {
				errs <- err
				return
			}
		}
	}()
	n.InPeer(t, func() {
		for range 300 {
			if _, err := dial(netip.AddrPortFrom(vip4, 80), patient); err != nil {
				t.Error("the Service's port:", err)
				break
			}
			// One packet is enough: what it meets is dropped, or refused or accepted by a listener.
			if line, err := dial(netip.AddrPortFrom(vip4, 2222), 2*time.Millisecond); err == nil || errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("another port answered %q, %v", line, err)
				break
			}
		}
	})
	close(done)
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func (n *node) answers(t *testing.T, addr netip.Addr, port uint16) {
	t.Helper()
	n.InPeer(t, func() { expectAnswer(t, "the client", addr, port) })
}

func (n *node) silent(t *testing.T, addr netip.Addr, port uint16) {
	t.Helper()
	n.InPeer(t, func() { expectSilence(t, "the client", addr, port) })
}

func (n *node) answersHere(t *testing.T, addr netip.Addr, port uint16) {
	t.Helper()
	expectAnswer(t, "the node itself", addr, port)
}

func (n *node) silentHere(t *testing.T, addr netip.Addr, port uint16) {
	t.Helper()
	expectSilence(t, "the node itself", addr, port)
}

func expectAnswer(t *testing.T, who string, addr netip.Addr, port uint16) {
	t.Helper()
	if _, err := dial(netip.AddrPortFrom(addr, port), patient); err != nil {
		t.Errorf("%s can't reach %s port %d: %v", who, addr, port, err)
	}
}

func expectSilence(t *testing.T, who string, addr netip.Addr, port uint16) {
	t.Helper()
	line, err := dial(netip.AddrPortFrom(addr, port), dropped)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("%s reaches %s port %d: %q, %v", who, addr, port, line, err)
	}
}

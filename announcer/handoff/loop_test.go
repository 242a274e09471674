package handoff

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

// capture counts the stray packets that a node receives as copies, by their sequence numbers.
type capture struct {
	fd   int
	done chan struct{}

	mu     sync.Mutex
	copies map[uint32]int
	total  int
}

// watch captures what comes to a node, and isn't only flooded to it, from other nodes' MAC addresses.
func (l *lan) watch(t *testing.T, nd *node) *capture {
	t.Helper()
	c := &capture{done: make(chan struct{}), copies: map[uint32]int{}}
	nd.In(t, func() {
		var err error
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(htons(unix.ETH_P_IP))); err != nil {
			t.Fatal(err)
		}
		// A reader that looks whether it is to end.
		timeout := unix.Timeval{Usec: 50_000}
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			t.Fatal(err)
		}
	})
	stop := make(chan struct{})
	go c.read(l.vip, l.client.MAC, stop)
	t.Cleanup(func() {
		close(stop)
		<-c.done
		_ = unix.Close(c.fd)
	})
	return c
}

func (c *capture) read(vip netip.Addr, client []byte, stop chan struct{}) {
	defer close(c.done)
	frame := make([]byte, 2048)
	for {
		select {
		case <-stop:
			return
		default:
		}
		n, from, err := unix.Recvfrom(c.fd, frame, 0)
		ll, ok := from.(*unix.SockaddrLinklayer)
		if err != nil || !ok || ll.Pkttype != unix.PACKET_HOST || n < 54 || string(frame[30:34]) != string(vip.AsSlice()) || string(frame[6:12]) == string(client) {
			continue
		}
		c.mu.Lock()
		c.copies[binary.BigEndian.Uint32(frame[38:42])]++
		c.total++
		c.mu.Unlock()
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// stray is a TCP segment of no known connection.
func (l *lan) stray(to *node, port uint16, seq uint32, flags, ttl byte) []byte {
	return l.segmentOf(to, port, seq, 1, flags, ttl)
}

// segmentOf is a TCP segment from a port of the client to the VIP, in a frame to a node.
func (l *lan) segmentOf(to *node, port uint16, seq, acked uint32, flags, ttl byte) []byte {
	b := append(append([]byte{}, to.MAC...), l.client.MAC...)
	b = append(b, 0x08, 0x00)
	ip := []byte{0x45, 0, 0, 40, 0, 0, 0x40, 0, ttl, unix.IPPROTO_TCP, 0, 0}
	client := netip.MustParseAddr("192.0.2.100")
	ip = append(append(ip, client.AsSlice()...), l.vip.AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip, 0))
	tcp := binary.BigEndian.AppendUint16(nil, port)
	tcp = binary.BigEndian.AppendUint16(tcp, 80)
	tcp = binary.BigEndian.AppendUint32(tcp, seq)
	tcp = binary.BigEndian.AppendUint32(tcp, acked)
	tcp = append(tcp, 5<<4, flags, 0xff, 0xff, 0, 0, 0, 0)
	pseudo := append(append(append([]byte{}, client.AsSlice()...), l.vip.AsSlice()...), 0, unix.IPPROTO_TCP, 0, byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...), 0))
	return append(append(b, ip...), tcp...)
}

func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// inject sends frames from the client's NIC.
func (l *lan) inject(t *testing.T, frames [][]byte) {
	t.Helper()
	l.client.In(t, func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		for _, frame := range frames {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.client.Index(), Protocol: htons(unix.ETH_P_IP)}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// settle returns once no capture has grown for a while.
func settle(t *testing.T, captures []*capture) (total int) {
	t.Helper()
	const quiet = 200 * time.Millisecond
	last, since := -1, time.Now()
	nstest.Eventually(t, "the segment to fall silent", func() bool {
		total = 0
		for _, c := range captures {
			c.mu.Lock()
			total += c.total
			c.mu.Unlock()
		}
		if total != last {
			last, since = total, time.Now()
		}
		return time.Since(since) > quiet
	})
	return total
}

// circulates fails the test when a node was passed more than once by a packet as a copy, and returns how many copies there were.
func (l *lan) circulates(t *testing.T, frames [][]byte) int {
	t.Helper()
	var captures []*capture
	for _, nd := range l.nodes {
		captures = append(captures, l.watch(t, nd))
	}
	l.inject(t, frames)
	total := settle(t, captures)
	for i, c := range captures {
		for seq, n := range c.copies {
			if n > 1 {
				t.Errorf("packet %d passed node %s %d times as a copy", seq, l.nodes[i].name, n)
			}
		}
	}
	return total
}

const ack = 0x10

func TestCopiesNeverCirculate(t *testing.T) {
	const strays = 50
	tests := []struct {
		name  string
		nodes int
		// to is whom each node hands on to.
		to map[int][]int
		// copies of each stray that is sent to the first node.
		copies int
	}{
		{"two nodes that point at each other", 2, map[int][]int{0: {1}, 1: {0}}, 1},
		{"a cycle of three", 3, map[int][]int{0: {1}, 1: {2}, 2: {0}}, 1},
		{"everybody points at everybody", 4, map[int][]int{0: {1, 2, 3}, 1: {0, 2, 3}, 2: {0, 1, 3}, 3: {0, 1, 2}}, 3},
		{"a node that has lost all of its maps", 2, map[int][]int{0: {1}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLAN(t, tt.nodes, false)
			l.open(t)
			for from, list := range tt.to {
				var to []*node
				for _, i := range list {
					to = append(to, l.nodes[i])
				}
				l.nodes[from].set(t, l.guarded(l.nodes[from], to...))
			}
			var frames [][]byte
			for i := range strays {
				frames = append(frames, l.stray(l.nodes[0], uint16(1000+i), uint32(i), ack, 64))
			}
			if got, want := l.circulates(t, frames), strays*tt.copies; got != want {
				t.Errorf("%d copies were received, want %d", got, want)
			}
		})
	}
}

// Each of the two guards is enough: what the other would have stopped ends all the same.
func TestEachGuardAloneStopsALoop(t *testing.T) {
	for _, without := range []string{"the peers' MAC addresses are wrong", "a client's TTL is restored on the way"} {
		t.Run(without, func(t *testing.T) {
			l := newLAN(t, 2, false)
			l.open(t)
			a, b := l.nodes[0], l.nodes[1]
			for from, to := range map[*node]*node{a: b, b: a} {
				s := l.guarded(from, to)
				if without == "the peers' MAC addresses are wrong" {
					s.Peers = []MAC{{2, 0, 0, 0, 0, 99}}
				}
				from.set(t, s)
			}
			frames := [][]byte{l.stray(a, 1000, 1, ack, 64)}
			if without != "the peers' MAC addresses are wrong" {
				// As b gets it from a, with the TTL that it had.
				frame := l.stray(b, 1000, 1, ack, 64)
				copy(frame[6:12], a.MAC)
				frames = [][]byte{frame}
			}
			if got := l.circulates(t, frames); got > 1 {
				t.Errorf("%d copies, want one at most", got)
			}
		})
	}
}

// TestRandomMapsUnderRandomStrays has nodes with maps of which some are stale, lost or wrong, and all kinds of packets.
func TestRandomMapsUnderRandomStrays(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			l := newLAN(t, 4, false)
			l.open(t)
			for range 3 { // later states replace earlier ones, while packets still arrive
				for _, nd := range l.nodes {
					if random.IntN(5) == 0 {
						continue // a lost update
					}
					var to []*node
					for _, i := range random.Perm(len(l.nodes))[:random.IntN(Slots+1)] {
						if l.nodes[i] != nd {
							to = append(to, l.nodes[i])
						}
					}
					nd.set(t, l.guarded(nd, to...))
				}
				var frames [][]byte
				for i := range 200 {
					to := l.nodes[random.IntN(len(l.nodes))]
					frames = append(frames, l.stray(to, uint16(random.IntN(60000)), uint32(i), byte(random.IntN(64)), byte(1+random.IntN(255))))
				}
				if got, most := l.circulates(t, frames), Slots*len(frames); got > most {
					t.Errorf("%d copies of %d packets, want at most %d of each", got, len(frames), Slots)
				}
			}
		})
	}
}

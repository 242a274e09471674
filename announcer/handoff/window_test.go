package handoff

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// next reads the numbers of the next bytes that a connection sends and receives.
func (f *flow) next(t *testing.T) (send, receive uint32) {
	t.Helper()
	raw, err := f.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		// The kernel tells them of a connection that is being moved to another machine.
		set := func(option, value int) {
			if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value); err != nil {
				t.Fatal(err)
			}
		}
		set(unix.TCP_REPAIR, unix.TCP_REPAIR_ON)
		defer set(unix.TCP_REPAIR, unix.TCP_REPAIR_OFF_NO_WP)
		for queue, number := range map[int]*uint32{2: &send, 1: &receive} { // TCP_SEND_QUEUE and TCP_RECV_QUEUE of linux/tcp.h
			set(unix.TCP_REPAIR_QUEUE, queue)
			value, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
			if err != nil {
				t.Fatal(err)
			}
			*number = uint32(value)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return send, receive
}

// A move reorders packets: those that go by the earlier owner come later than those that go directly. What conntrack then takes for
// invalid, as it is out of the window, is no packet of a connection that nobody knows.
func TestAPacketOutOfTheWindowResetsNothing(t *testing.T) {
	l := newLAN(t, 2, false)
	a, b := l.nodes[0], l.nodes[1]
	l.open(t)
	l.move(t, nil, a)
	a.set(t, l.guarded(a, b)) // it has come back from b
	b.set(t, l.guarded(b))
	flow := l.connect(t)
	flow.answered(t, a)
	send, receive := flow.next(t)

	captured := l.watch(t, b)
	late := func(behind uint32) []byte { return l.segmentOf(a, flow.port(), send-behind, receive, ack, 64) }
	l.inject(t, [][]byte{late(1 << 30), late(3 << 30)})
	if n := settle(t, []*capture{captured}); n == 0 {
		t.Error("conntrack found nothing invalid: the test shows nothing")
	}
	flow.answered(t, a)
}

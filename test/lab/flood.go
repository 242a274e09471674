package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Flood sends small packets of established connections as fast as the machine takes them: each connection's bare acknowledgement of
// what it has received last, which nobody answers. Unlike requests they cost little where they come from and where they end, so that
// their rate is that of the path between.
type Flood struct {
	fd   int
	stop chan struct{}
	done sync.WaitGroup
	err  error
}

// StartFlood begins to send packets of the host's TCP connections, which must be idle, each in turn, in frames to a MAC address.
func (h *Host) StartFlood(to net.HardwareAddr, conns []net.Conn) (*Flood, error) {
	var frames [][]byte
	for _, conn := range conns {
		segment, err := acknowledgement(conn)
		if err != nil {
			return nil, fmt.Errorf("flooding from %s: %w", h.name, err)
		}
		frame := append(append(append([]byte{}, to...), h.MAC...), 0x08, 0x00) // EtherType IPv4
		frames = append(frames, append(frame, segment...))
	}
	if len(frames) == 0 {
		return nil, errors.New("flooding: there is no connection")
	}
	index, err := h.Index()
	if err != nil {
		return nil, fmt.Errorf("flooding from %s: %w", h.name, err)
	}
	f := &Flood{stop: make(chan struct{})}
	err = h.Do(func() (err error) {
		if f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil { // 0: it receives nothing
			return err
		}
		if err = unix.Bind(f.fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			_ = unix.Close(f.fd)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("flooding from %s: %w", h.name, err)
	}
	f.done.Go(func() {
		// The path's work is done in this thread's time, on whichever core it is.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f.err = f.send(frames)
	})
	return f, nil
}

func (f *Flood) send(frames [][]byte) error {
	for {
		select {
		case <-f.stop:
			return nil
		default:
		}
		for _, frame := range frames {
			// A full queue drops frames: the flood is then faster than the path, as it should be.
			if _, err := unix.Write(f.fd, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return fmt.Errorf("flooding: %w", err)
			}
		}
	}
}

// Stop ends the flood, and says what ended it before.
func (f *Flood) Stop() error {
	close(f.stop)
	f.done.Wait()
	return errors.Join(f.err, unix.Close(f.fd))
}

// Queues that TCP_QUEUE_SEQ tells of (include/uapi/linux/tcp.h).
const (
	tcpReceiveQueue = 1
	tcpSendQueue    = 2
)

// acknowledgement makes an IPv4 packet that the connection could send now, though it has no need to.
func acknowledgement(conn net.Conn) ([]byte, error) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("making an acknowledgement: %T is no TCP connection", conn)
	}
	local, remote := tcp.LocalAddr().(*net.TCPAddr).AddrPort(), tcp.RemoteAddr().(*net.TCPAddr).AddrPort()
	if !local.Addr().Unmap().Is4() {
		return nil, fmt.Errorf("making an acknowledgement: %s isn't an IPv4 address", local)
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("making an acknowledgement: %w", err)
	}
	var sequence, acknowledged int
	if controlErr := raw.Control(func(fd uintptr) { sequence, acknowledged, err = sequences(int(fd)) }); controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return nil, fmt.Errorf("making an acknowledgement: reading a connection's sequence numbers: %w", err)
	}
	return acknowledge(local, remote, uint32(sequence), uint32(acknowledged)), nil
}

// sequences reads the next sequence numbers of both directions. The kernel tells them only while it takes the connection for one that
// is being moved to another machine; the end of that sends no packet.
func sequences(fd int) (send, receive int, err error) {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_ON); err != nil {
		return 0, 0, err
	}
	defer func() {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, unix.TCP_REPAIR_OFF_NO_WP))
	}()
	for queue, sequence := range map[int]*int{tcpSendQueue: &send, tcpReceiveQueue: &receive} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
			return 0, 0, err
		}
		if *sequence, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ); err != nil {
			return 0, 0, err
		}
	}
	return send, receive, nil
}

// acknowledge is an IPv4 packet (RFC 791) with a TCP segment (RFC 9293, 3.1) that has no content and only ACK set.
func acknowledge(from, to netip.AddrPort, sequence, acknowledged uint32) []byte {
	const ipLen, tcpLen = 20, 20
	source, destination := from.Addr().Unmap().As4(), to.Addr().Unmap().As4()
	ip := []byte{0x45, 0, 0, ipLen + tcpLen, 0, 0, 0x40, 0, 64, syscall.IPPROTO_TCP, 0, 0} // don't fragment; 64 hops
	ip = append(append(ip, source[:]...), destination[:]...)
	binary.BigEndian.PutUint16(ip[10:], internetChecksum(ip))
	tcp := make([]byte, tcpLen)
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], sequence)
	binary.BigEndian.PutUint32(tcp[8:], acknowledged)
	tcp[12], tcp[13] = tcpLen/4<<4, 0x10
	binary.BigEndian.PutUint16(tcp[14:], 500) // a window, of a scale that nobody knows here
	pseudo := append(append(append([]byte{}, ip[12:20]...), 0, syscall.IPPROTO_TCP, 0, tcpLen), tcp...)
	binary.BigEndian.PutUint16(tcp[16:], internetChecksum(pseudo))
	return append(ip, tcp...)
}

// internetChecksum is that of RFC 1071, of an even number of bytes.
func internetChecksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

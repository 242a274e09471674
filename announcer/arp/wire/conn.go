package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ErrGone is returned by Run and Send when the interface no longer exists: it
// was deleted or moved to another network namespace. Another Conn is needed.
var ErrGone = errors.New("interface is gone")

var errNotReading = errors.New("nobody reads from the interface")

const (
	// frameMax is more than any ARP or neighbour discovery frame that is of
	// use here; longer ones are cut, and a parser refuses what is cut.
	frameMax = 512
	// sendPatience bounds a send when the interface's queue is full.
	sendPatience = 100 * time.Millisecond
	// downPoll is how often an interface that has ever been down is asked
	// whether it still exists: the kernel tells the socket that it went down,
	// not that it vanished afterwards nor that it came up.
	downPoll = time.Second
	// drainMax bounds one draining, so that a flood can't keep Run from seeing
	// its context. A default receive buffer holds fewer frames.
	drainMax = 1024
	// retryPause is the wait after a transient receive error (no memory).
	retryPause = 100 * time.Millisecond
)

// Conn is a packet socket on one Ethernet interface for one EtherType. Its
// filter keeps the process' own frames away. All methods are safe for
// concurrent use.
type Conn struct {
	name  string
	index int
	pc    *packet.Conn
	raw   syscall.RawConn

	// mu serialises draining, and with it every call of handle.
	mu     sync.Mutex
	buf    []byte
	oob    []byte
	handle func(frame []byte, at time.Time)
	// down is set for good when the kernel reported for the first time that the
	// interface went down. That a frame follows doesn't mean that it is up: the
	// error overtakes what is queued.
	down bool
}

// Listen opens a socket for etherType on ifi, in the network namespace of the
// calling thread. The filter is a classic BPF program that follows the check
// of the frame's direction; nil accepts everything of etherType.
func Listen(ifi *net.Interface, etherType int, filter []bpf.Instruction) (*Conn, error) {
	if mac, ok := MACFrom(ifi.HardwareAddr); !ok || !mac.IsStation() {
		return nil, fmt.Errorf("listening on %s: not an Ethernet interface", ifi.Name)
	}
	if len(filter) == 0 {
		filter = []bpf.Instruction{Accept()}
	}
	prog, err := bpf.Assemble(append(inbound(), filter...))
	if err != nil {
		return nil, fmt.Errorf("assembling the filter for %s: %w", ifi.Name, err)
	}
	pc, err := packet.Listen(ifi, packet.Raw, etherType, &packet.Config{Filter: prog})
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", ifi.Name, err)
	}
	c := &Conn{
		name: ifi.Name, index: ifi.Index, pc: pc,
		buf: make([]byte, frameMax), oob: make([]byte, unix.CmsgSpace(16)),
	}
	if err := c.init(); err != nil {
		_ = pc.Close()
		return nil, fmt.Errorf("listening on %s: %w", ifi.Name, err)
	}
	return c, nil
}

func (c *Conn) init() error {
	raw, err := c.pc.SyscallConn()
	if err != nil {
		return err
	}
	c.raw = raw
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}); err != nil {
		return err
	}
	return serr
}

// inbound accepts what the host, a group of it or everybody was sent.
// PACKET_OTHERHOST is dropped: besides promiscuous leftovers it is what the
// kernel makes of frames of a VLAN that has no interface here, with the tag
// already taken off (__netif_receive_skb_core), and the same IP address in
// another VLAN is no conflict. PACKET_OUTGOING are our own frames.
func inbound() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: unix.PACKET_MULTICAST, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
}

// Accept is the end of a filter: take the frame, cut at what Conn reads.
func Accept() bpf.Instruction { return bpf.RetConstant{Val: frameMax} }

// Name returns the interface's name at the time of Listen.
func (c *Conn) Name() string { return c.name }

// Index returns the interface's index.
func (c *Conn) Index() int { return c.index }

// MAC returns the interface's present hardware address: a bond changes its own.
// It returns ErrGone when the interface is gone.
func (c *Conn) MAC() (MAC, error) {
	var sa unix.Sockaddr
	var serr error
	if err := c.raw.Control(func(fd uintptr) { sa, serr = unix.Getsockname(int(fd)) }); err != nil {
		return MAC{}, fmt.Errorf("asking for the MAC of %s: %w", c.name, err)
	}
	if serr != nil {
		return MAC{}, fmt.Errorf("asking for the MAC of %s: %w", c.name, serr)
	}
	ll, ok := sa.(*unix.SockaddrLinklayer)
	// packet_notifier sets the socket's index to -1 when its device is
	// unregistered.
	if !ok || ll.Ifindex != c.index || ll.Halen != 6 {
		return MAC{}, fmt.Errorf("asking for the MAC of %s: %w", c.name, ErrGone)
	}
	return MAC(ll.Addr[:6]), nil
}

// Send sends one complete Ethernet frame.
func (c *Conn) Send(frame []byte) error {
	if err := c.pc.SetWriteDeadline(time.Now().Add(sendPatience)); err != nil {
		return fmt.Errorf("sending on %s: %w", c.name, err)
	}
	dst := net.HardwareAddr(frame[:6])
	if _, err := c.pc.WriteTo(frame, &packet.Addr{HardwareAddr: dst}); err != nil {
		if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("sending on %s: %w", c.name, ErrGone)
		}
		return fmt.Errorf("sending on %s: %w", c.name, err)
	}
	return nil
}

// Close closes the socket. A running Run returns an error.
func (c *Conn) Close() error { return c.pc.Close() }

// Run hands every frame to handle until ctx is done (nil) or the interface is
// gone (ErrGone). handle is never called concurrently; the frame is only valid
// during the call, and handle must not call Sync. A downed interface is waited
// for. Only one Run at a time.
func (c *Conn) Run(ctx context.Context, handle func(frame []byte, at time.Time)) error {
	c.mu.Lock()
	c.handle = handle
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.handle = nil
		c.mu.Unlock()
	}()

	if err := c.pc.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("reading from %s: %w", c.name, err)
	}
	// The deadline in the past wakes the reader; the mutex keeps the loop from
	// putting it off again.
	var dl sync.Mutex
	stop := context.AfterFunc(ctx, func() {
		dl.Lock()
		defer dl.Unlock()
		_ = c.pc.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()

	down := false
	for ctx.Err() == nil {
		var err error
		down, err = c.wait(down)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
			// Whether the interface is still there is asked below.
		case transient(err):
			if err := pause(ctx, retryPause); err != nil {
				return nil
			}
		default:
			return fmt.Errorf("reading from %s: %w", c.name, err)
		}
		next := time.Time{}
		if down {
			if _, err := c.MAC(); err != nil {
				return err
			}
			next = time.Now().Add(downPoll)
		}
		dl.Lock()
		if ctx.Err() == nil {
			err = c.pc.SetReadDeadline(next)
		}
		dl.Unlock()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !transient(err) {
			return fmt.Errorf("reading from %s: %w", c.name, err)
		}
	}
	return nil
}

// wait reads frames until an error, the read deadline, drainMax frames, or the
// first report that the interface is down, unless the caller knows; it returns
// whether there was one. The caller's knowledge counts, not c.down at this
// time: Sync may have taken the report.
func (c *Conn) wait(known bool) (down bool, err error) {
	var derr error
	rerr := c.raw.Read(func(fd uintptr) bool {
		more, err := c.drain(fd)
		derr = err
		c.mu.Lock()
		defer c.mu.Unlock()
		return more || derr != nil || c.down != known
	})
	c.mu.Lock()
	down = c.down
	c.mu.Unlock()
	if derr != nil {
		return down, derr
	}
	return down, rerr
}

// Sync hands over every frame that the kernel had received before the call. It
// lets a verdict about silence be reached after the last word was read. It is
// an error if no Run is active, for then nobody hears.
func (c *Conn) Sync() error {
	var derr error
	if err := c.raw.Control(func(fd uintptr) { _, derr = c.drain(fd) }); err != nil {
		return fmt.Errorf("draining %s: %w", c.name, err)
	}
	if derr != nil {
		return fmt.Errorf("draining %s: %w", c.name, derr)
	}
	return nil
}

// drain reads until the queue is empty, or drainMax frames with more to come.
func (c *Conn) drain(fd uintptr) (more bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle == nil {
		return false, errNotReading
	}
	for range drainMax {
		n, oobn, flags, _, err := unix.Recvmsg(int(fd), c.buf, c.oob, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			if flags&unix.MSG_TRUNC == 0 {
				c.handle(c.buf[:n], received(time.Now(), c.oob[:oobn]))
			}
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.ENETDOWN):
			// Reported once each time; then the queue is only silent.
			c.down = true
		default:
			return false, err
		}
	}
	return true, nil
}

// received turns the kernel's wall-clock stamp into a time with a monotonic
// reading; without a stamp, or after a step back of the clock, it is now.
func received(now time.Time, oob []byte) time.Time {
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return now
		}
		oob = rest
		if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS || len(data) < 16 {
			continue
		}
		stamp := time.Unix(int64(binary.NativeEndian.Uint64(data[:8])), int64(binary.NativeEndian.Uint64(data[8:16])))
		if age := now.Sub(stamp); age > 0 {
			return now.Add(-age)
		}
	}
	return now
}

func transient(err error) bool {
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

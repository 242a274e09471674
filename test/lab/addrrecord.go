package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// AddrEvent says that a node got or lost an address.
type AddrEvent struct {
	Node  string
	Addr  netip.Prefix
	Added bool
	// Renewed is true for an RTM_NEWADDR of an address that stood there already.
	Renewed bool
	// At is when the kernel's message was read. Messages of all nodes come through
	// one queue, so the order of events is the kernel's even when the reader is
	// late.
	At time.Time
	// ValidFor is the address' remaining lifetime; 0 means for ever.
	ValidFor time.Duration
}

// AddrRecorder notes every RTM_NEWADDR and RTM_DELADDR of the nodes.
type AddrRecorder struct {
	numbers *numbers
	fd      int
	done    chan struct{}
	stop    context.CancelFunc

	mu     sync.Mutex
	events []AddrEvent
	held   map[holding]bool
	err    error
}

type holding struct {
	node string
	addr netip.Prefix
}

// RecordAddresses begins to record, with the addresses that stand already as its
// first events, until Stop.
func (c *Cluster) RecordAddresses() (*AddrRecorder, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("recording addresses: %w", err)
	}
	r := &AddrRecorder{numbers: c.numbers, fd: fd, done: make(chan struct{}), held: make(map[holding]bool)}
	if err := r.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("recording addresses: %w", err), unix.Close(fd))
	}
	for _, n := range c.Nodes {
		addresses, err := n.Addresses()
		if errors.Is(err, ErrPoweredOff) {
			continue
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("recording addresses: %w", err), unix.Close(fd))
		}
		for _, a := range addresses {
			r.note(AddrEvent{Node: n.name, Addr: a, Added: true, At: time.Now()})
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		defer close(r.done)
		r.run(ctx)
	}()
	return r, nil
}

// listen subscribes to address changes of all namespaces that have a number in
// the lab's own.
func (r *AddrRecorder) listen() error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1); err != nil {
		return fmt.Errorf("listening to all namespaces: %w", err)
	}
	// A full queue would lose messages; forced, because rmem_max is small.
	if err := unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		_ = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	}
	groups := uint32(1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
	if err := unix.Bind(r.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	// So that the reader notices Stop.
	return unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
}

// run reads messages until ctx ends.
func (r *AddrRecorder) run(ctx context.Context) {
	// Ahead of everything else that wants the CPU, where we may: an event's time is
	// the time of its reading.
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 10}, 0)
	buf, oob := make([]byte, 1<<16), make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(r.fd, buf, oob, 0)
		now := time.Now()
		switch {
		case errors.Is(err, unix.EAGAIN):
			if ctx.Err() != nil {
				return
			}
		case errors.Is(err, unix.EINTR):
		case err != nil:
			r.fail(fmt.Errorf("recording addresses: %w", err))
			return
		default:
			if err := r.read(buf[:n], oob[:oobn], now); err != nil {
				r.fail(err)
				return
			}
		}
	}
}

func (r *AddrRecorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// read notes the events of one datagram.
func (r *AddrRecorder) read(data, oob []byte, now time.Time) error {
	node := r.numbers.node(nsid(oob))
	if node == "" {
		return nil
	}
	messages, err := splitMessages(data)
	if err != nil {
		return fmt.Errorf("recording addresses: %w", err)
	}
	for _, m := range messages {
		if m.kind != unix.RTM_NEWADDR && m.kind != unix.RTM_DELADDR {
			continue
		}
		e, ok := parseAddr(m.data)
		if !ok || !recorded(e.addr.Addr()) {
			continue
		}
		r.note(AddrEvent{Node: node, Addr: e.addr, Added: m.kind == unix.RTM_NEWADDR, At: now, ValidFor: e.valid})
	}
	return nil
}

// recorded tells addresses of the segment from those that every node has. The
// interface isn't asked for: an address on any of them is answered for.
func recorded(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsLinkLocalUnicast() && a != podLinkNodeV6.Addr()
}

// note appends an event, after it was found to change something.
func (r *AddrRecorder) note(e AddrEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := holding{e.Node, e.Addr}
	if !e.Added && !r.held[k] {
		return
	}
	e.Renewed = e.Added && r.held[k]
	if e.Added {
		r.held[k] = true
	} else {
		delete(r.held, k)
	}
	r.events = append(r.events, e)
}

// Events returns what was recorded so far, in the kernel's order.
func (r *AddrRecorder) Events() []AddrEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]AddrEvent(nil), r.events...)
}

// Stop ends the recording and returns all of it.
func (r *AddrRecorder) Stop() ([]AddrEvent, error) {
	r.stop()
	<-r.done
	err := unix.Close(r.fd)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events, errors.Join(r.err, err)
}

// nsid reads the number of the namespace that a message comes from; -1 without one.
func nsid(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_NETLINK && m.Header.Type == unix.NETLINK_LISTEN_ALL_NSID && len(m.Data) >= 4 {
			return int(int32(nl.NativeEndian().Uint32(m.Data)))
		}
	}
	return -1
}

type netlinkMessage struct {
	kind uint16
	data []byte
}

func splitMessages(data []byte) ([]netlinkMessage, error) {
	var out []netlinkMessage
	for len(data) >= unix.NLMSG_HDRLEN {
		size := int(nl.NativeEndian().Uint32(data))
		if size < unix.NLMSG_HDRLEN || size > len(data) {
			return nil, fmt.Errorf("a netlink message of %d bytes in %d", size, len(data))
		}
		out = append(out, netlinkMessage{kind: nl.NativeEndian().Uint16(data[4:]), data: data[unix.NLMSG_HDRLEN:size]})
		data = data[min(len(data), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return out, nil
}

type ifaddr struct {
	addr  netip.Prefix
	valid time.Duration
}

// forever is the lifetime of an address without one.
const forever = 0xffffffff

// parseAddr reads the body of an RTM_NEWADDR or RTM_DELADDR.
func parseAddr(data []byte) (ifaddr, bool) {
	if len(data) < unix.SizeofIfAddrmsg {
		return ifaddr{}, false
	}
	msg := nl.DeserializeIfAddrmsg(data)
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return ifaddr{}, false
	}
	var out ifaddr
	var address, local netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_CACHEINFO:
			// struct ifa_cacheinfo: preferred, then valid, in seconds.
			if valid := nl.NativeEndian().Uint32(a.Value[4:]); valid != forever {
				out.valid = time.Duration(valid) * time.Second
			}
		}
	}
	if local.IsValid() {
		address = local
	}
	out.addr = netip.PrefixFrom(address, int(msg.Prefixlen))
	return out, address.IsValid()
}

// numbers maps the numbers that nodes' namespaces have in the lab's own to the
// nodes. A namespace has another number after a power loss.
type numbers struct {
	mu    sync.Mutex
	nodes map[int]string
}

// assign gives the node's namespace a number, so that its netlink messages are
// heard in the lab's own namespace.
func (s *numbers) assign(n *Node) error {
	n.Netns.mu.RLock()
	defer n.Netns.mu.RUnlock()
	// -1: the kernel takes one that is free.
	if err := netlink.SetNetNsIdByFd(int(n.handle), -1); err != nil {
		return fmt.Errorf("numbering namespace %s: %w", n.name, err)
	}
	id, err := netlink.GetNetNsIdByFd(int(n.handle))
	if err != nil {
		return fmt.Errorf("reading the number of namespace %s: %w", n.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[id] = n.name
	return nil
}

// node finds the node of a number; "" for other namespaces.
func (s *numbers) node(id int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[id]
}

package rtnl

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// BatchSize is how many requests go into one system call. Each is answered by an acknowledgement of about 1 KiB
	// of socket memory, so that a batch's answers fit into the default receive buffer of 208 KiB.
	BatchSize = 64

	// replyTimeout bounds the wait for an answer. The kernel processes requests within sendmsg, so an answer that
	// isn't there at once isn't coming.
	replyTimeout = 5 * time.Second

	// messageBuffer is larger than any datagram of a dump (32 KiB, NLMSG_GOODSIZE and netlink_dump).
	messageBuffer = 64 << 10

	// dumpTries bounds the repetitions of a dump that changes interrupted.
	dumpTries = 5
)

// Op is what a Request does.
type Op int

const (
	// Create adds an address and fails with EEXIST if it is there.
	Create Op = iota
	// Replace adds an address or sets the lifetimes of the one that is there.
	Replace
	// Delete removes an address; EADDRNOTAVAIL if it isn't there.
	Delete
)

// Request is one change of one address.
type Request struct {
	Op      Op
	Address Address
}

func (r Request) message() (netlink.Message, error) {
	m := netlink.Message{Header: netlink.Header{
		Type:  unix.RTM_NEWADDR,
		Flags: netlink.Request | netlink.Acknowledge,
	}}
	switch r.Op {
	case Create:
		m.Header.Flags |= netlink.Create | netlink.Excl
	case Replace:
		m.Header.Flags |= netlink.Create | netlink.Replace
	case Delete:
		m.Header.Type = unix.RTM_DELADDR
	}
	var err error
	m.Data, err = r.Address.marshal(r.Op != Delete)
	return m, err
}

// Conn sends requests. It is safe for concurrent use; calls are served one after the other.
type Conn struct {
	netNS int

	mu sync.Mutex
	nl *netlink.Conn
}

// Dial opens a connection in the network namespace of the file descriptor netNS, 0 being the caller's.
func Dial(netNS int) (*Conn, error) {
	c := &Conn{netNS: netNS}
	if err := c.redial(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Conn) redial() error {
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: c.netNS, MessageBufferSize: messageBuffer})
	if err != nil {
		return fmt.Errorf("opening a route netlink socket: %w", err)
	}
	c.nl = nl
	return nil
}

// Close closes the connection. Calls after it fail.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nl.Close()
}

// Apply sends the requests, at most BatchSize, in one system call and returns one result for each: nil or the
// kernel's errno. All of them have been processed when it returns. The second result says that the outcome is unknown.
func (c *Conn) Apply(reqs []Request) ([]error, error) {
	if len(reqs) == 0 {
		return nil, nil
	}
	if len(reqs) > BatchSize {
		return nil, fmt.Errorf("applying %d address changes: at most %d fit a batch", len(reqs), BatchSize)
	}
	msgs := make([]netlink.Message, len(reqs))
	for i, r := range reqs {
		m, err := r.message()
		if err != nil {
			return nil, err
		}
		msgs[i] = m
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	errs, err := c.exchange(msgs)
	if err != nil {
		// Late answers would be taken for those of the next batch: start again with an empty socket.
		_ = c.nl.Close()
		if derr := c.redial(); derr != nil {
			err = errors.Join(err, derr)
		}
		return nil, fmt.Errorf("applying %d address changes: %w", len(reqs), err)
	}
	return errs, nil
}

func (c *Conn) exchange(msgs []netlink.Message) ([]error, error) {
	if err := c.nl.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return nil, err
	}
	sent, err := c.nl.SendMessages(msgs)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(msgs))
	for i := range sent {
		reply, err := c.nl.Receive()
		switch {
		case err == nil && len(reply) == 1 && reply[0].Header.Sequence == sent[i].Header.Sequence:
		case err == nil:
			return nil, fmt.Errorf("answer %d of %d belongs to another request", i+1, len(sent))
		case transportError(err):
			return nil, err
		default:
			errs[i] = errno(err)
		}
	}
	return errs, nil
}

// transportError tells a failure of the socket from an answer that carries an errno.
func transportError(err error) bool {
	var op *netlink.OpError
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) ||
		errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EBADF) || !errors.As(err, &op)
}

// errno strips the library's wrapping, so that callers compare and print the kernel's answer.
func errno(err error) error {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}

// Addresses lists the addresses of all interfaces and both families, per interface in the kernel's own order.
func (c *Conn) Addresses() ([]Address, error) {
	msgs, err := c.dump(unix.RTM_GETADDR, make([]byte, ifAddrmsgLen))
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	list := make([]Address, 0, len(msgs))
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) == 0 || !ipFamily(m.Data[0]) {
			continue
		}
		a, err := ParseAddress(m.Data)
		if err != nil {
			return nil, fmt.Errorf("listing addresses: %w", err)
		}
		list = append(list, a)
	}
	return list, nil
}

// Links lists all network interfaces.
func (c *Conn) Links() ([]Link, error) {
	msgs, err := c.dump(unix.RTM_GETLINK, make([]byte, ifInfomsgLen))
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	list := make([]Link, 0, len(msgs))
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		l, ok, err := parseLink(m.Data)
		if err != nil {
			return nil, fmt.Errorf("listing links: %w", err)
		}
		if ok {
			list = append(list, l)
		}
	}
	return list, nil
}

// dump repeats a dump that was interrupted by changes (NLM_F_DUMP_INTR): such a list may lack entries.
func (c *Conn) dump(typ netlink.HeaderType, data []byte) ([]netlink.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range dumpTries {
		if err := c.nl.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
			return nil, err
		}
		msgs, err := c.nl.Execute(netlink.Message{
			Header: netlink.Header{Type: typ, Flags: netlink.Request | netlink.Dump},
			Data:   data,
		})
		if err != nil {
			if transportError(err) {
				_ = c.nl.Close()
				if derr := c.redial(); derr != nil {
					err = errors.Join(err, derr)
				}
			}
			return nil, err
		}
		if !interrupted(msgs) {
			return msgs, nil
		}
	}
	return nil, fmt.Errorf("interrupted by changes %d times", dumpTries)
}

func interrupted(msgs []netlink.Message) bool {
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return true
		}
	}
	return false
}

func ipFamily(f uint8) bool { return f == unix.AF_INET || f == unix.AF_INET6 }

package nft

import (
	"errors"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// socketBuffer also holds the one transaction that isn't bounded, that of a table which must be replaced whole: some 20,000
	// elements.
	socketBuffer = 8 << 20
	// replyTimeout ends the wait for answers. A kernel without nf_tables answers a transaction only once, and not once for each of
	// its parts as the library expects.
	replyTimeout = 5 * time.Second
)

// Link is a lasting way to the nftables of one network namespace. A socket for each transaction would do, but closing one has the
// kernel wait, with the namespace's only transaction lock held, until all is freed that any transaction deleted before
// (net/netfilter/nf_tables_api.c, nft_rcv_nl_event): half a second and more on a busy machine, in which nobody's transaction gets on.
// Its methods may be called concurrently and wait for one another.
type Link struct {
	timeout time.Duration
	dial    func() (*nftables.Conn, *netlink.Conn, error)

	mu   sync.Mutex
	conn *nftables.Conn // nil: to be dialled
	sock *netlink.Conn  // what conn speaks through
}

// NewLink returns a Link that opens its socket when it is first used, in the network namespace of a file descriptor; 0 is the caller's.
func NewLink(netns int) *Link {
	return &Link{timeout: replyTimeout, dial: func() (*nftables.Conn, *netlink.Conn, error) { return dial(netns) }}
}

// Do has work read, or stage a transaction, which is then sent; work must not keep the connection. All of it together has 5 seconds.
// After an error, of whatever kind, the next Do begins with a new socket: answers that come late would be taken for those to another
// question, and the library keeps what is staged, and its own errors, for ever.
func (l *Link) Do(work func(*nftables.Conn) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ready(); err != nil {
		return err
	}
	err := work(l.conn)
	if err == nil {
		err = l.conn.Flush()
	}
	if err != nil {
		l.drop()
	}
	return err
}

// ready makes sure of a socket that works and in which nothing waits, with a new deadline. The caller holds mu.
func (l *Link) ready() error {
	if l.conn != nil {
		if quiet(l.sock) && l.sock.SetDeadline(time.Now().Add(l.timeout)) == nil {
			return nil
		}
		l.drop()
	}
	conn, sock, err := l.dial()
	if err != nil {
		return err
	}
	l.conn, l.sock = conn, sock
	return sock.SetDeadline(time.Now().Add(l.timeout))
}

// drop closes the socket. The caller holds mu.
func (l *Link) drop() {
	_ = l.conn.CloseLasting() // a socket that is done with; closing one twice is no harm
	l.conn, l.sock = nil, nil
}

// Close closes the socket. A later Do opens another one.
func (l *Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.drop()
	}
}

// dial opens a socket. The library hands it out only to those who set its options.
func dial(netns int) (conn *nftables.Conn, sock *netlink.Conn, err error) {
	conn, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(netns), nftables.WithSockOptions(func(c *netlink.Conn) error {
		sock = c
		return errors.Join(c.SetWriteBuffer(socketBuffer), c.SetReadBuffer(socketBuffer))
	}))
	if err != nil {
		if sock != nil {
			_ = sock.Close()
		}
		return nil, nil, err
	}
	return conn, sock, nil
}

// quiet says whether a socket is open and nothing waits in it: what does answers something that was given up.
func quiet(sock *netlink.Conn) bool {
	raw, err := sock.SyscallConn()
	if err != nil {
		return false
	}
	var waiting error
	err = raw.Control(func(fd uintptr) {
		_, _, waiting = unix.Recvfrom(int(fd), nil, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err == nil && errors.Is(waiting, unix.EAGAIN)
}

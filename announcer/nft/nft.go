// Package nft is what the announcer's nftables tables (packages protect and handoff) have in common: the way to the kernel.
package nft

import (
	"errors"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrUnsupported says that the kernel has no nf_tables, or lacks an expression that the rules need.
var ErrUnsupported = errors.New("the kernel doesn't support the nftables rules")

const (
	// socketBuffer also holds the one transaction that isn't bounded, that of a table which must be replaced whole: some 20,000
	// elements.
	socketBuffer = 8 << 20
	// replyTimeout ends the wait for answers. A kernel without nf_tables answers a transaction only once, and not once for each of
	// its parts as the library expects.
	replyTimeout = 5 * time.Second
)

// Dial returns a connection for one transaction, or a few at once, in the network namespace of a file descriptor; 0 is the caller's.
func Dial(netns int) (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(netns), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(
			c.SetDeadline(time.Now().Add(replyTimeout)),
			c.SetWriteBuffer(socketBuffer),
			c.SetReadBuffer(socketBuffer),
		)
	}))
}

// Unsupported adds ErrUnsupported to errors that no repetition will cure.
func Unsupported(err error) error {
	incurable := []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT, unix.ENOSYS}
	if slices.ContainsFunc(incurable, func(e error) bool { return errors.Is(err, e) }) {
		return errors.Join(ErrUnsupported, err)
	}
	return err
}

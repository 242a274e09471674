// Package nft is what the announcer's nftables tables (packages protect, handoff and traffic) have in common: the way to the kernel.
package nft

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrUnsupported says that the kernel has no nf_tables, or lacks an expression that the rules need.
var ErrUnsupported = errors.New("the kernel doesn't support the nftables rules")

// Unsupported adds ErrUnsupported to errors that no repetition will cure.
func Unsupported(err error) error {
	incurable := []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENOENT, unix.ENOSYS}
	if slices.ContainsFunc(incurable, func(e error) bool { return errors.Is(err, e) }) {
		return errors.Join(ErrUnsupported, err)
	}
	return err
}

package protect

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/nft"
)

// ErrUnsupported says that the kernel has no nf_tables, or lacks an expression that the rules need. VIPs can be bound
// without protection then.
var ErrUnsupported = nft.ErrUnsupported

const (
	// DefaultTable is the table's name.
	DefaultTable = "evenkeel"
	// DefaultTimeout is longer than an address lives on after an announcer's orderly end (90 s).
	DefaultTimeout = 110 * time.Second
)

// Proto is a transport protocol by its IP protocol number.
type Proto uint8

// The protocols that a Service port can have.
const (
	TCP  Proto = unix.IPPROTO_TCP
	UDP  Proto = unix.IPPROTO_UDP
	SCTP Proto = unix.IPPROTO_SCTP
)

// ParseProto understands the protocols of Service ports, "TCP", "UDP" and "SCTP".
func ParseProto(s string) (Proto, error) {
	switch s {
	case "TCP":
		return TCP, nil
	case "UDP":
		return UDP, nil
	case "SCTP":
		return SCTP, nil
	}
	return 0, fmt.Errorf("parsing protocol %q: not TCP, UDP or SCTP", s)
}

// Port is a port of a protocol.
type Port struct {
	Proto Proto
	Port  uint16
}

// Entry is what may pass to one VIP.
type Entry struct {
	Addr  netip.Addr
	Ports []Port
	// Interface is the index of the NIC that the VIP is announced on, for who guards ARP (package quiet); 0: not known.
	Interface int
	// Local says that the host itself serves the ports: a placeholder written by hand, or kube-proxy in IPVS mode,
	// which takes over only after the input chain.
	Local bool
}

// Options configure a Table.
type Options struct {
	// Name of the nftables table; DefaultTable if empty.
	Name string
	// Timeout of elements; DefaultTimeout if zero. Run renews them four times within it.
	Timeout time.Duration
	// NetNS is the file descriptor of a network namespace, 0 for the caller's.
	NetNS int
}

func (o *Options) complete() error {
	if o.Name == "" {
		o.Name = DefaultTable
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < time.Second {
		return fmt.Errorf("checking options: timeout %s is below a second", o.Timeout)
	}
	return nil
}

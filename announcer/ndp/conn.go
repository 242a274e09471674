package ndp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// Conn speaks neighbour discovery on one interface. All methods are safe for
// concurrent use. It reads from a packet socket: the kernel's ICMPv6 sockets
// keep back what is meant for groups of other hosts and hide the MACs.
type Conn struct {
	c *wire.Conn

	mu sync.Mutex
	// groupFD is a socket that sends and receives nothing; it holds the group
	// memberships, so that switches with MLD snooping forward them to us.
	groupFD int
	// joined counts the users of each solicited-node group.
	joined map[netip.Addr]int
}

// Listen opens a Conn on ifi, in the network namespace of the calling thread;
// it needs no IPv6 address there, but CAP_NET_RAW.
func Listen(ifi *net.Interface) (*Conn, error) {
	c, err := wire.Listen(ifi, wire.EtherTypeIPv6, filter())
	if err != nil {
		return nil, fmt.Errorf("opening NDP: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("opening NDP on %s: %w", ifi.Name, err)
	}
	return &Conn{c: c, groupFD: fd, joined: map[netip.Addr]int{}}, nil
}

// filter passes ICMPv6 neighbour solicitations and advertisements that follow
// the IPv6 header directly.
func filter() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: wire.HeaderLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_ICMPV6, SkipTrue: 4},
		bpf.LoadAbsolute{Off: wire.HeaderLen + ipv6HeaderLen, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeAdvertisement, SkipTrue: 1},
		wire.Accept(),
		bpf.RetConstant{Val: 0},
	}
}

// Name returns the interface's name.
func (c *Conn) Name() string { return c.c.Name() }

// Index returns the interface's index.
func (c *Conn) Index() int { return c.c.Index() }

// MAC returns the interface's present hardware address.
func (c *Conn) MAC() (wire.MAC, error) { return c.c.MAC() }

// Sync hands over every frame that the kernel had received before the call.
func (c *Conn) Sync() error { return c.c.Sync() }

// Close closes the sockets and with them leaves all groups.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.groupFD >= 0 {
		_ = unix.Close(c.groupFD)
		c.groupFD = -1
	}
	c.mu.Unlock()
	return c.c.Close()
}

// Run hands what other machines say about addresses to hear, until ctx is done
// (nil) or the interface is gone (wire.ErrGone). hear is never called
// concurrently and must not block or call Sync. Odd frames are passed over; a
// downed interface is waited for.
func (c *Conn) Run(ctx context.Context, hear func(wire.Heard)) error {
	return c.RunFrames(ctx, func(f Frame) {
		if h, ok := f.Heard(); ok {
			hear(h)
		}
	})
}

// RunFrames is Run for who needs the whole frame.
func (c *Conn) RunFrames(ctx context.Context, handle func(Frame)) error {
	return c.c.Run(ctx, func(b []byte, at time.Time) {
		f, err := Parse(b)
		if err != nil {
			// Whatever somebody sends here is no reason to stop or to say so.
			return
		}
		f.At = at
		handle(f)
	})
}

// Probe sends a neighbour solicitation for addr in the form of duplicate
// address detection: who has addr answers to all nodes.
func (c *Conn) Probe(addr netip.Addr) error {
	return c.send("probing", addr, func(src wire.MAC) Frame { return NewProbe(src, addr) })
}

// ProbeTo is Probe in an Ethernet frame to one machine.
func (c *Conn) ProbeTo(addr netip.Addr, to wire.MAC) error {
	return c.send("probing", addr, func(src wire.MAC) Frame { return NewProbeTo(src, addr, to) })
}

// Ask is Probe by who holds addr by a title: who hears it learns that, and who has addr, too, answers.
func (c *Conn) Ask(addr netip.Addr, title wire.Title) error {
	return c.send("asking for", addr, func(src wire.MAC) Frame {
		f := NewProbe(src, addr)
		f.Title, f.Titled = title, true
		return f
	})
}

// Request asks the machine to, from our address from, whether it has addr.
func (c *Conn) Request(from, addr netip.Addr, to wire.MAC) error {
	if !isHost6(from) {
		return fmt.Errorf("asking for %s from %s: not IPv6", addr, from)
	}
	return c.send("asking for", addr, func(src wire.MAC) Frame { return NewRequest(src, from, addr, to) })
}

// Announce claims addr for this interface by a title in an unsolicited advertisement.
func (c *Conn) Announce(addr netip.Addr, title wire.Title) error {
	return c.send("announcing", addr, func(src wire.MAC) Frame { return NewAnnouncement(src, addr, title) })
}

// AnnounceFrames returns how many frames one Announce sends.
func (c *Conn) AnnounceFrames() int { return 1 }

// Join joins the solicited-node group of addr, without which the probes of
// others for addr don't reach this machine (RFC 4862 section 5.4.2). The
// kernel does it by itself for addresses that are bound. Each Join needs a
// Leave.
func (c *Conn) Join(addr netip.Addr) error {
	return c.member(addr, 1)
}

// Leave takes one Join back.
func (c *Conn) Leave(addr netip.Addr) error {
	return c.member(addr, -1)
}

func (c *Conn) member(addr netip.Addr, by int) error {
	if !isHost6(addr) {
		return fmt.Errorf("changing the group of %s: not an IPv6 host address", addr)
	}
	group := SolicitedNode(addr)
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.joined[group]
	after := before + by
	opt := 0
	switch {
	case after < 0:
		return fmt.Errorf("leaving %s on %s: not joined", group, c.Name())
	case before == 0:
		opt = unix.IPV6_JOIN_GROUP
	case after == 0:
		opt = unix.IPV6_LEAVE_GROUP
	}
	if opt != 0 {
		mreq := &unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(c.Index())}
		if err := unix.SetsockoptIPv6Mreq(c.groupFD, unix.IPPROTO_IPV6, opt, mreq); err != nil {
			return fmt.Errorf("changing membership of %s on %s: %w", group, c.Name(), err)
		}
	}
	if after == 0 {
		delete(c.joined, group)
	} else {
		c.joined[group] = after
	}
	return nil
}

func (c *Conn) send(doing string, addr netip.Addr, build func(src wire.MAC) Frame) error {
	if !isHost6(addr) {
		return fmt.Errorf("%s %s: not an IPv6 host address", doing, addr)
	}
	src, err := c.c.MAC()
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, addr, err)
	}
	b, err := build(src).AppendTo(nil)
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, addr, err)
	}
	if err := c.c.Send(b); err != nil {
		return fmt.Errorf("%s %s: %w", doing, addr, err)
	}
	return nil
}

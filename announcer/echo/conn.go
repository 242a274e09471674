package echo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// Conn asks and hears on one interface in one family. Its methods are safe for concurrent use.
type Conn struct {
	c   *wire.Conn
	id  uint16
	seq atomic.Uint32
}

// Listen opens a Conn for IPv4 or IPv6 on ifi. It needs CAP_NET_RAW. Its filter passes the answers to its own questions, which
// carry a random identifier, and the questions of other announcers: who is asked hears.
func Listen(ifi *net.Interface, v4 bool) (*Conn, error) {
	id := uint16(rand.Uint32())
	etherType, filter := wire.EtherTypeIPv6, filter6(id)
	if v4 {
		etherType, filter = etherTypeIPv4, filter4(id)
	}
	c, err := wire.Listen(ifi, etherType, filter)
	if err != nil {
		return nil, fmt.Errorf("opening echo: %w", err)
	}
	return &Conn{c: c, id: id}, nil
}

// filter4 passes ICMP echo replies with our identifier, and the questions of other announcers. X is the length of the IPv4
// header.
func filter4(id uint16) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: wire.HeaderLen + 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMP, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadMemShift{Off: wire.HeaderLen},
		bpf.LoadIndirect{Off: wire.HeaderLen, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv4.ICMPTypeEcho), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ipv4.ICMPTypeEchoReply), SkipTrue: 2},
		bpf.LoadIndirect{Off: wire.HeaderLen + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(id), SkipTrue: acceptQuestion},
		bpf.RetConstant{Val: 0},
	}, question1(wire.HeaderLen+8)...)
}

// filter6 passes the same of ICMPv6 that directly follows the IPv6 header.
func filter6(id uint16) []bpf.Instruction {
	const message = wire.HeaderLen + ipv6HeaderLen
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: wire.HeaderLen + 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolICMPv6, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: message, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(ipv6.ICMPTypeEchoRequest), SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(ipv6.ICMPTypeEchoReply), SkipTrue: 2},
		bpf.LoadAbsolute{Off: message + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(id), SkipTrue: acceptQuestion},
		bpf.RetConstant{Val: 0},
	}, question1(wire.HeaderLen+7)...)
}

// acceptQuestion is how many instructions lie between an answer that is accepted and the end of question1, where it is.
const acceptQuestion = 6

// question1 is the end of a filter, for echo requests that may come from another announcer: to this machine alone, with one hop.
// Whether they are for an address of ours doesn't matter: who asks for one that we no longer have has reached us all the same.
func question1(hopLimit uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: hopLimit, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: hops, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		wire.Accept(),
	}
}

// Ask sends an echo request for to in a frame to mac, from an address of our own.
func (c *Conn) Ask(from, to netip.Addr, mac wire.MAC) error {
	if !from.IsValid() || from.Is4() != to.Is4() {
		return fmt.Errorf("asking %s for %s from %q: want two addresses of one family", mac, to, from)
	}
	src, err := c.c.MAC()
	if err != nil {
		return fmt.Errorf("asking %s for %s: %w", mac, to, err)
	}
	frame, err := question(src, mac, from, to, c.id, uint16(c.seq.Add(1)))
	if err != nil {
		return fmt.Errorf("asking %s for %s: %w", mac, to, err)
	}
	if err := c.c.Send(frame); err != nil {
		return fmt.Errorf("asking %s for %s: %w", mac, to, err)
	}
	return nil
}

// Run hands answers to our questions, and the questions of others, to hear until ctx is done (nil) or the interface is gone
// (wire.ErrGone). hear is never called concurrently and must not block or call Sync.
func (c *Conn) Run(ctx context.Context, hear func(Message)) error {
	return c.c.Run(ctx, func(frame []byte, at time.Time) {
		m, err := parse(frame)
		if err != nil || m.Question && m.Hops != hops || !m.Question && m.ID != c.id {
			return // whatever somebody sends here is no reason to stop or to say so
		}
		m.At = at
		hear(m)
	})
}

// Sync hands over everything that the kernel had received before the call.
func (c *Conn) Sync() error { return c.c.Sync() }

// Close closes the socket.
func (c *Conn) Close() error { return c.c.Close() }

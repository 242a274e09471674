package arp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// Conn speaks ARP on one interface. All methods are safe for concurrent use.
type Conn struct {
	c *wire.Conn
}

// Listen opens a Conn on ifi; it needs no IPv4 address there, but
// CAP_NET_RAW.
func Listen(ifi *net.Interface) (*Conn, error) {
	c, err := wire.Listen(ifi, wire.EtherTypeARP, nil)
	if err != nil {
		return nil, fmt.Errorf("opening ARP: %w", err)
	}
	return &Conn{c: c}, nil
}

// Name returns the interface's name.
func (c *Conn) Name() string { return c.c.Name() }

// Index returns the interface's index.
func (c *Conn) Index() int { return c.c.Index() }

// MAC returns the interface's present hardware address.
func (c *Conn) MAC() (wire.MAC, error) { return c.c.MAC() }

// Close closes the socket.
func (c *Conn) Close() error { return c.c.Close() }

// Sync hands over every frame that the kernel had received before the call.
func (c *Conn) Sync() error { return c.c.Sync() }

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

// Probe broadcasts an ARP probe for addr: who has it answers.
func (c *Conn) Probe(addr netip.Addr) error {
	return c.ProbeTo(addr, wire.Broadcast)
}

// ProbeTo sends an ARP probe for addr to one machine.
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
	if !from.Is4() {
		return fmt.Errorf("asking for %s from %s: not IPv4", addr, from)
	}
	return c.send("asking for", addr, func(src wire.MAC) Frame { return NewRequest(src, from, addr, to) })
}

// Announce claims addr for this interface by a title in both forms, AnnounceFrames frames.
func (c *Conn) Announce(addr netip.Addr, title wire.Title) error {
	return errors.Join(
		c.send("announcing", addr, func(src wire.MAC) Frame { return NewAnnouncement(Request, src, addr, title) }),
		c.send("announcing", addr, func(src wire.MAC) Frame { return NewAnnouncement(Reply, src, addr, title) }),
	)
}

// AnnounceFrames returns how many frames one Announce sends.
func (c *Conn) AnnounceFrames() int { return 2 }

// Join does nothing: broadcasts reach everybody.
func (c *Conn) Join(netip.Addr) error { return nil }

// Leave does nothing.
func (c *Conn) Leave(netip.Addr) error { return nil }

func (c *Conn) send(doing string, addr netip.Addr, build func(src wire.MAC) Frame) error {
	if !addr.Is4() || addr.IsUnspecified() || addr.IsMulticast() {
		return fmt.Errorf("%s %s: not an IPv4 host address", doing, addr)
	}
	src, err := c.c.MAC()
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, addr, err)
	}
	if err := c.c.Send(build(src).AppendTo(nil)); err != nil {
		return fmt.Errorf("%s %s: %w", doing, addr, err)
	}
	return nil
}

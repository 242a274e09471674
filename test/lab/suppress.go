package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The second switch of a segment that suppresses neighbour packets, and the two ends of the link between both.
const (
	farLeaf    = "leaf"
	trunkHere  = "trunk-segment"
	trunkThere = "trunk-leaf"
)

// SuppressNeighbours turns the segment into two switches as an EVPN fabric has them (RFC 9161): the given machines move to the
// second one. Over the link between them no announcement and no probe passes, and a question only for an address that the
// asker's switch hasn't heard of: it answers all others itself, also for machines that are dead. What one switch hears of its
// own machines the other one is told, as BGP would. IPv4 alone is suppressed. stop puts everything back.
//
// A machine that boots meanwhile joins the first switch.
func (c *Cluster) SuppressNeighbours(away ...*Netns) (stop func() error, err error) {
	wrap := func(err error) error { return fmt.Errorf("suppressing neighbour packets: %w", err) }
	off := false
	leaf := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: &off}
	leaf.Name = farLeaf
	if err := netlink.LinkAdd(leaf); err != nil {
		return nil, wrap(err)
	}
	undo := func() error {
		var errs []error
		for _, ns := range away {
			if _, err := netlink.LinkByName(portName(ns.name)); err == nil {
				errs = append(errs, plugInto(portName(ns.name), segmentBridge))
			}
		}
		if _, err := netlink.LinkByName(trunkHere); err == nil {
			errs = append(errs, deleteLink(trunkHere))
		}
		return errors.Join(append(errs, deleteLink(farLeaf), forgetNeighbours(segmentBridge))...)
	}
	trunk := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: trunkThere}
	trunk.Name = trunkHere
	err = errors.Join(netlink.LinkSetUp(leaf), netlink.LinkAdd(trunk))
	for _, port := range []struct{ link, bridge string }{{trunkHere, segmentBridge}, {trunkThere, farLeaf}} {
		if err == nil {
			err = errors.Join(plugInto(port.link, port.bridge), suppress(port.link))
		}
	}
	if err != nil {
		return nil, wrap(errors.Join(err, undo()))
	}
	for _, ns := range away {
		err = errors.Join(err, plugInto(portName(ns.name), farLeaf))
	}
	told, startErr := tellLeaves()
	if err = errors.Join(err, startErr); err != nil {
		return nil, wrap(errors.Join(err, undo()))
	}
	return sync.OnceValue(func() error { return errors.Join(told(), undo()) }), nil
}

func suppress(port string) error {
	link, err := netlink.LinkByName(port)
	if err != nil {
		return fmt.Errorf("finding %s: %w", port, err)
	}
	if err := netlink.LinkSetBrNeighSuppress(link, true); err != nil {
		return fmt.Errorf("suppressing neighbour packets on %s: %w", port, err)
	}
	return nil
}

// forgetNeighbours empties a switch's table of who has which address.
func forgetNeighbours(bridge string) error {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("finding %s: %w", bridge, err)
	}
	list, err := netlink.NeighList(link.Attrs().Index, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("listing neighbours of %s: %w", bridge, err)
	}
	for _, n := range list {
		if err := netlink.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("forgetting %s of %s: %w", n.IP, bridge, err)
		}
	}
	return nil
}

// arpOnly passes ARP frames whole.
var arpOnly = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipFalse: 1},
	bpf.RetConstant{Val: 2048},
	bpf.RetConstant{Val: 0},
}

// tellLeaves is the control plane of the two switches: it hears every ARP packet where it comes in, and tells both who has the
// sender's address.
func tellLeaves() (stop func() error, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(bigEndian(unix.ETH_P_ALL)))
	if err != nil {
		return nil, fmt.Errorf("listening to the switches: %w", err)
	}
	raw, err := bpf.Assemble(arpOnly)
	if err == nil {
		filter := make([]unix.SockFilter, len(raw))
		for i, r := range raw {
			filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
		}
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	if err == nil {
		// So that the reader notices the end.
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening to the switches: %w", err), unix.Close(fd))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- errors.Join(tell(ctx, fd), unix.Close(fd)) }()
	return func() error {
		cancel()
		return <-done
	}, nil
}

func tell(ctx context.Context, fd int) error {
	known := map[netip.Addr]string{}
	buf := make([]byte, frameBufSize)
	for ctx.Err() == nil {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
			continue
		case err != nil:
			return fmt.Errorf("listening to the switches: %w", err)
		}
		at, ok := from.(*unix.SockaddrLinklayer)
		if !ok || at.Pkttype == unix.PACKET_OUTGOING || n < 42 {
			continue
		}
		mac, addr := buf[22:28], netip.AddrFrom4([4]byte(buf[28:32]))
		if !SegmentV4.Contains(addr) {
			continue
		}
		leaves := leavesOf(at.Ifindex)
		if len(leaves) == 0 || known[addr] == leaves[0].Attrs().Name+string(mac) {
			continue
		}
		// Its own switch too: what that one was told of the address before, by the other one, holds no longer.
		for _, leaf := range leaves {
			err := netlink.NeighSet(&netlink.Neigh{
				LinkIndex: leaf.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_NOARP, Flags: netlink.NTF_EXT_LEARNED,
				IP: addr.AsSlice(), HardwareAddr: append([]byte(nil), mac...),
			})
			if err != nil {
				return fmt.Errorf("telling %s who has %s: %w", leaf.Attrs().Name, addr, err)
			}
		}
		known[addr] = leaves[0].Attrs().Name + string(mac)
	}
	return nil
}

// leavesOf are the switch that the port with the index is part of, and the other one; none for the link between them and what is
// no port.
func leavesOf(index int) []netlink.Link {
	port, err := netlink.LinkByIndex(index)
	if err != nil || port.Attrs().MasterIndex == 0 || port.Attrs().Name == trunkHere || port.Attrs().Name == trunkThere {
		return nil
	}
	here, err := netlink.LinkByIndex(port.Attrs().MasterIndex)
	if err != nil {
		return nil
	}
	name := map[string]string{segmentBridge: farLeaf, farLeaf: segmentBridge}[here.Attrs().Name]
	other, err := netlink.LinkByName(name)
	if err != nil {
		return nil
	}
	return []netlink.Link{here, other}
}

func bigEndian(v uint16) uint16 { return v<<8 | v>>8 }

package lab

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// Impairment is what befalls frames on their way from the segment to a host, as "tc qdisc add dev PORT root netem" would have
// it: what two impaired hosts say to each other suffers once in each direction.
type Impairment struct {
	// Loss is the part of frames that is lost, 0 to 1.
	Loss float64
	// Each frame is late by Delay ± Jitter, evenly distributed: frames may overtake each other.
	Delay, Jitter time.Duration
	// Seed of the dice.
	Seed uint64
}

// Names of the links of an impaired host: a bridge of its own between two TAP devices' worth of relay and its port. The kernels
// that the lab has to do with lack netem.
func ownBridge(host string) string  { return "s-" + host }
func insideTap(host string) string  { return "i-" + host }
func outsideTap(host string) string { return "t-" + host }

// Impair puts a relay between the segment and the host's port, until the returned function is called; a power loss ends it too,
// and stop must be called all the same. The host's carrier stays. CutPort, Pause and Flicker work as before.
func (c *Cluster) Impair(h *Host, i Impairment) (stop func() error, err error) {
	wrap := func(err error) error { return fmt.Errorf("impairing %s: %w", h.name, err) }
	if i.Jitter > i.Delay || i.Loss < 0 || i.Loss > 1 {
		return nil, wrap(fmt.Errorf("%+v: want a jitter of at most the delay, and a loss from 0 to 1", i))
	}
	off := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs(), MulticastSnooping: &off}
	bridge.Name = ownBridge(h.name)
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, wrap(err)
	}
	r, err := newRelay(insideTap(h.name), outsideTap(h.name), i)
	if err != nil {
		return nil, wrap(errors.Join(err, netlink.LinkDel(bridge)))
	}
	err = errors.Join(
		netlink.LinkSetUp(bridge),
		plugInto(insideTap(h.name), bridge.Name), plugInto(outsideTap(h.name), segmentBridge),
		plugInto(portName(h.name), bridge.Name),
	)
	r.start()
	undo := func() error {
		var errs []error
		if _, err := netlink.LinkByName(portName(h.name)); err == nil {
			errs = append(errs, plugInto(portName(h.name), segmentBridge))
		}
		return errors.Join(append(errs, r.stop(), deleteLink(ownBridge(h.name)))...)
	}
	if err != nil {
		return nil, wrap(errors.Join(err, undo()))
	}
	return undo, nil
}

// plugInto makes a link a port of a bridge; it may have been another one's.
func plugInto(link, bridge string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return fmt.Errorf("finding %s: %w", link, err)
	}
	b, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("finding %s: %w", bridge, err)
	}
	if err := netlink.LinkSetMaster(l, b); err != nil {
		return fmt.Errorf("plugging %s into %s: %w", link, bridge, err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("raising %s: %w", link, err)
	}
	return nil
}

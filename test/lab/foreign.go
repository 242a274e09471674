package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"

	"github.com/vishvananda/netlink"
)

// Foreign is a machine on the segment that is none of the cluster's: it answers
// for addresses that it has no right to.
type Foreign struct {
	*Host

	mu    sync.Mutex
	stops []func() error
}

// AddForeign plugs a foreign machine in.
func (c *Cluster) AddForeign() (*Foreign, error) {
	c.mu.Lock()
	c.foreign++
	number := c.foreign
	c.mu.Unlock()
	if foreignHost+number > 254 {
		return nil, errors.New("plugging a foreign machine in: the segment has no address left")
	}
	h, err := newHost(fmt.Sprintf("foreign-%d", number), foreignHost+number)
	if err != nil {
		return nil, err
	}
	f := &Foreign{Host: h}
	c.onClose(f.remove)
	return f, nil
}

// remove unplugs the machine.
func (f *Foreign) remove() error {
	return errors.Join(f.Silence(), killAll(f.Netns), f.Netns.remove())
}

// Silence ends all Answers.
func (f *Foreign) Silence() error {
	f.mu.Lock()
	stops := f.stops
	f.stops = nil
	f.mu.Unlock()
	var errs []error
	for _, stop := range stops {
		errs = append(errs, stop())
	}
	return errors.Join(errs...)
}

// Bind gives the machine the address like any other: its kernel answers for it.
func (f *Foreign) Bind(a netip.Addr) error {
	return f.setUp(nic, netip.PrefixFrom(a, a.BitLen()))
}

// Unbind takes an address of Bind away.
func (f *Foreign) Unbind(a netip.Addr) error {
	return f.netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(nic)
		if err != nil {
			return fmt.Errorf("finding %s of %s: %w", nic, f.name, err)
		}
		if err := h.AddrDel(link, address(netip.PrefixFrom(a, a.BitLen()))); err != nil {
			return fmt.Errorf("deleting %s of %s: %w", a, f.name, err)
		}
		return nil
	})
}

// Answer has the machine answer every question for the target, probes included,
// the given delay after it was asked, until Silence.
func (f *Foreign) Answer(target netip.Addr, delay time.Duration) error {
	etherType := ethernet.EtherTypeARP
	if target.Is6() {
		etherType = ethernet.EtherTypeIPv6
	}
	w, err := f.tap(etherType)
	if err != nil {
		return err
	}
	if target.Is6() {
		// Solicitations go to a group: the NIC has to take them.
		if err := w.SetPromiscuous(true); err != nil {
			return errors.Join(fmt.Errorf("listening to all frames on %s: %w", f.name, err), w.Close())
		}
	}
	r := &responder{wire: w, target: target, delay: delay}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stops = append(f.stops, func() error {
		cancel()
		err := errors.Join(w.SetReadDeadline(time.Unix(1, 0)), <-done, w.Close())
		return err
	})
	return nil
}

// Claim has the machine announce the address once, without being asked.
func (f *Foreign) Claim(target netip.Addr) error {
	if target.Is4() {
		w, err := f.tap(ethernet.EtherTypeARP)
		if err != nil {
			return err
		}
		defer w.Close()
		return w.sendARP(arp.OperationRequest, ethernet.Broadcast, target, unknownMAC, target)
	}
	w, err := f.tap(ethernet.EtherTypeIPv6)
	if err != nil {
		return err
	}
	defer w.Close()
	return w.sendND(allNodesMAC, f.V6, allNodes, advertisement(target, w.mac, false))
}

// responder answers for one address.
type responder struct {
	*wire
	target netip.Addr
	delay  time.Duration
	wg     sync.WaitGroup
}

// run answers until ctx ends and the socket's deadline passes.
func (r *responder) run(ctx context.Context) error {
	defer r.wg.Wait()
	buf := make([]byte, frameBufSize)
	for {
		f, err := r.receive(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errNoFrame):
			continue
		case err != nil:
			return fmt.Errorf("answering for %s: %w", r.target, err)
		}
		reply := r.reply(f)
		if reply == nil {
			continue
		}
		r.wg.Go(func() {
			select {
			case <-ctx.Done():
			case <-time.After(r.delay):
				// The NIC may be cut: that is what cut machines are for.
				_ = reply()
			}
		})
	}
}

// reply returns what sends the answer to a question for the target, nil for
// other frames.
func (r *responder) reply(f *ethernet.Frame) func() error {
	if r.target.Is4() {
		p, err := parseARP(f)
		if err != nil || p.Operation != arp.OperationRequest || p.TargetIP != r.target || p.SenderIP == r.target {
			return nil
		}
		return func() error {
			return r.sendARP(arp.OperationReply, p.SenderHardwareAddr, r.target, p.SenderHardwareAddr, p.SenderIP)
		}
	}
	src, m, err := parseND(f)
	if err != nil {
		return nil
	}
	ns, ok := m.(*ndp.NeighborSolicitation)
	if !ok || ns.TargetAddress != r.target {
		return nil
	}
	if src.IsUnspecified() {
		// RFC 4862, 5.4.4: a probe is answered to all nodes.
		return func() error {
			return r.sendND(allNodesMAC, r.target, allNodes, advertisement(r.target, r.mac, false))
		}
	}
	mac := append(net.HardwareAddr(nil), f.Source...)
	return func() error { return r.sendND(mac, r.target, src, advertisement(r.target, r.mac, true)) }
}

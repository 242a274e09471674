package wires

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/probe"
)

// controls is how many unused addresses are asked for beside the VIP, to tell a proxy from an owner.
const controls = 2

// probeAgain is the wait after a probe that came to no verdict because the link was down.
const probeAgain = 250 * time.Millisecond

// Probe asks the NIC's segment who has addr. verdict is called once with who answered, the zero MAC when nobody did, and with one
// of ignore that answered, unless Cancel comes first; late is called for an owner that answers after that, within the timing's late window. Answers from our
// own NICs and from ignore don't count. A patient probe's verdict waits for the late window. A probe of the same address that is under way is cancelled.
func (s *Set) Probe(ctx context.Context, nicName string, addr netip.Addr, patient bool, ignore map[probe.MAC]bool, verdict func(owner, ignored probe.MAC), late func(probe.MAC)) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	if previous, ok := s.probes[addr]; ok {
		previous()
	}
	s.probes[addr] = cancel
	if s.closed {
		cancel()
	}
	s.running.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.running.Done()
		defer cancel()
		for ctx.Err() == nil {
			err := s.probeOnce(ctx, nicName, addr, patient, ignore, verdict, late)
			if err == nil || ctx.Err() != nil {
				return
			}
			klog.FromContext(ctx).V(1).Info("A probe came to no verdict and is tried again", "vip", addr, "interface", nicName, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(probeAgain):
			}
		}
	}()
}

func (s *Set) probeOnce(ctx context.Context, nicName string, addr netip.Addr, patient bool, ignore map[probe.MAC]bool, verdict func(owner, ignored probe.MAC), late func(probe.MAC)) error {
	s.mu.Lock()
	seg, ok := s.segments[nicName]
	request := probe.Request{Addr: addr}
	if ok {
		own := map[probe.MAC]bool{}
		for _, n := range s.nics {
			if mac, isMAC := probe.MACFrom(n.MAC); isMAC {
				own[mac] = true
			}
		}
		request.Ignore = func(mac probe.MAC) bool { return own[mac] || ignore[mac] }
		request.Controls = s.controls(seg.nic, addr)
	}
	s.mu.Unlock()
	if !ok {
		return errors.New("the interface is not open")
	}
	session, err := seg.side(addr).prober.Open(request)
	if err != nil {
		return err
	}
	defer session.Close()
	first, err := session.Probe(ctx)
	if err != nil {
		return err
	}
	if first.Proxy != (probe.MAC{}) {
		klog.FromContext(ctx).Info("A machine answers for unused addresses too: a proxy, not an owner", "vip", addr, "interface", nicName, "mac", first.Proxy)
	}
	if !first.Free {
		verdict(first.MAC, first.Ignored)
		return nil
	}
	if !patient {
		verdict(probe.MAC{}, first.Ignored)
	}
	second, err := session.Late(ctx)
	switch {
	case patient && err != nil:
		return err
	case patient && second.Free:
		verdict(probe.MAC{}, second.Ignored)
	case patient:
		verdict(second.MAC, second.Ignored)
	case err == nil && !second.Free:
		late(second.MAC)
	}
	return nil
}

// controls picks addresses of the VIP's subnet that nobody should have.
func (s *Set) controls(n nic.NIC, addr netip.Addr) []netip.Addr {
	used := func(candidate netip.Addr) bool {
		if _, ok := s.announced[candidate]; ok {
			return true
		}
		for _, own := range s.nics {
			for _, prefix := range own.Addresses {
				if prefix.Addr() == candidate {
					return true
				}
			}
		}
		return false
	}
	for _, prefix := range n.Addresses {
		if prefix.Contains(addr) {
			return probe.Controls(prefix, addr, controls, used)
		}
	}
	return nil
}

// Cancel forgets a probe of addr and its watch for late answers.
func (s *Set) Cancel(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel, ok := s.probes[addr]; ok {
		cancel()
		delete(s.probes, addr)
	}
}

// Announce claims addr by a title on the NIC's segment, now, repeatedly within the first seconds, and refreshed from then on.
func (s *Set) Announce(nicName string, addr netip.Addr, title wire.Title) {
	s.mu.Lock()
	seg, ok := s.segments[nicName]
	s.announced[addr] = nicName
	s.mu.Unlock()
	if !ok {
		return // the NIC has just gone; its return is a new start
	}
	s.opts.Announcer.Stop(addr)
	s.opts.Announcer.Start(addr, seg.side(addr).link, title)
}

// Retitle has addr announced by another title from now on.
func (s *Set) Retitle(addr netip.Addr, title wire.Title) { s.opts.Announcer.Retitle(addr, title) }

// Defend announces addr once, out of turn.
func (s *Set) Defend(addr netip.Addr) { s.opts.Announcer.Now(addr) }

// Assert announces addr anew, at once and repeatedly.
func (s *Set) Assert(addr netip.Addr) { s.opts.Announcer.Again(addr) }

const (
	// askEvery spaces questions, so that the answers to many find room in the sockets' buffers.
	askEvery = time.Millisecond
	// answerWithin is how long answers are waited for before the address is announced again.
	answerWithin = 60 * time.Millisecond
)

// Question is what Ask asks for.
type Question struct {
	Addr netip.Addr
	// Title by which this node has the address; Held is false if it hasn't.
	Title wire.Title
	Held  bool
}

// Ask asks the NIC's segment once for each of some addresses who else has it. The answers come to Heard. With hold none of them is
// announced before there was time to answer.
func (s *Set) Ask(ctx context.Context, nicName string, questions []Question, hold bool) {
	s.mu.Lock()
	seg, ok := s.segments[nicName]
	if !ok || s.closed {
		s.mu.Unlock()
		return
	}
	asked := map[netip.Addr]bool{}
	for _, q := range questions {
		asked[q.Addr] = true
	}
	for key := range s.heard { // what was said before is news again
		if asked[key.addr] {
			delete(s.heard, key)
		}
	}
	s.running.Add(1)
	s.mu.Unlock()
	if hold {
		for i, q := range questions {
			s.opts.Announcer.Hold(q.Addr, answerWithin+time.Duration(i)*askEvery)
		}
	}
	go func() {
		defer s.running.Done()
		for i, q := range questions {
			if i > 0 {
				time.Sleep(askEvery)
			}
			err := s.opts.Limiter.Wait(ctx, 1)
			if err == nil && hold {
				s.opts.Announcer.Hold(q.Addr, answerWithin)
			}
			if err == nil {
				err = seg.side(q.Addr).ask(q)
			}
			if err != nil {
				klog.FromContext(ctx).V(1).Info("Asking who else has an address failed", "vip", q.Addr, "interface", nicName, "err", err)
			}
		}
	}()
}

func (s *side) ask(q Question) error {
	if q.Held {
		return s.link.Ask(q.Addr, q.Title)
	}
	return s.link.Probe(q.Addr)
}

// Silence cancels every announcement of addr. No frame of it leaves after it returns.
func (s *Set) Silence(addr netip.Addr) {
	s.opts.Announcer.Stop(addr)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.announced, addr)
}

// Neighbour asks one machine on the NIC's segment, from the NIC's own address, whether it has addr: a unicast ARP request or
// neighbour solicitation. It is an error where the NIC has no address of its own in that subnet.
func (s *Set) Neighbour(nicName string, addr netip.Addr, to probe.MAC) error {
	s.mu.Lock()
	seg, ok := s.segments[nicName]
	var from netip.Addr
	if ok {
		from = seg.nic.OwnAddress(addr)
	}
	s.mu.Unlock()
	switch {
	case !ok:
		return fmt.Errorf("asking for %s: interface %s is not open", addr, nicName)
	case !from.IsValid():
		return fmt.Errorf("asking for %s: interface %s has no address of its own to ask from", addr, nicName)
	}
	return seg.side(addr).link.Request(from, addr, to)
}

// Sync hands over everything that the kernel has received on any NIC before the call, as far as somebody reads there.
func (s *Set) Sync() {
	s.mu.Lock()
	var links []link
	for _, seg := range s.segments {
		links = append(links, seg.v4.link, seg.v6.link)
	}
	s.mu.Unlock() // what is handed over needs it
	for _, one := range links {
		_ = one.Sync() // a connection that can't is about to end by itself
	}
}

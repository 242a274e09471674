// Package wires speaks and listens on the segments of a node: one ARP and one neighbour discovery connection per NIC, probes
// on top of them, and one announcement schedule for all.
package wires

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/arp"
	"evenkeel.io/evenkeel/announcer/arp/wire"
	"evenkeel.io/evenkeel/announcer/ndp"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/probe"
)

// hearAgain is the least time between two reports of the same machine saying the same of an address, so that a flood of frames
// doesn't become a flood of decisions.
const hearAgain = time.Second

// Options of a Set. All are required.
type Options struct {
	Timing    probe.Timing
	Limiter   *announce.Limiter
	Announcer *announce.Scheduler
	// Heard is told of machines that speak for an address which is followed, or probe for it, on a NIC. It must not block.
	Heard func(nicName string, h probe.Heard)
	// Listen is told of everything that is heard on a NIC, by whoever it is. It must not block.
	Listen func(nicName string, h probe.Heard)
}

// Set is the wires of all NICs. Its methods are safe for concurrent use and don't wait for the wire.
type Set struct {
	opts Options

	mu        sync.Mutex
	nics      []nic.NIC
	segments  map[string]*segment
	starting  chan *segment
	probes    map[netip.Addr]context.CancelFunc
	running   sync.WaitGroup
	closed    bool
	announced map[netip.Addr]string
	// followed addresses are listened for.
	followed map[netip.Addr]bool
	heard    map[hearing]time.Time

	lastHeard atomic.Int64 // Unix nanoseconds
}

type hearing struct {
	nic    string
	addr   netip.Addr
	from   probe.MAC
	kind   probe.Kind
	title  wire.Title
	titled bool
}

// link is one family's connection on a NIC.
type link interface {
	probe.Link
	announce.Link
	Run(ctx context.Context, hear func(probe.Heard)) error
	Request(from, addr netip.Addr, to probe.MAC) error
	Ask(addr netip.Addr, title wire.Title) error
	Close() error
}

// segment is what lies behind one NIC.
type segment struct {
	nic    nic.NIC
	v4, v6 *side
	stop   chan struct{}

	lastHeard atomic.Int64 // Unix nanoseconds
}

// side is one family of a segment.
type side struct {
	link   link
	prober *probe.Prober
}

// New returns a set without NICs; Run makes it listen.
func New(opts Options) *Set {
	return &Set{
		opts: opts, segments: map[string]*segment{}, starting: make(chan *segment, 128),
		probes: map[netip.Addr]context.CancelFunc{}, announced: map[netip.Addr]string{},
		followed: map[netip.Addr]bool{}, heard: map[hearing]time.Time{},
	}
}

// LastHeard returns when any frame of another machine was heard last.
func (s *Set) LastHeard() time.Time { return time.Unix(0, s.lastHeard.Load()) }

// Deaf says whether no other machine was heard on a NIC for so long.
func (s *Set) Deaf(nicName string, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	seg, ok := s.segments[nicName]
	return !ok || time.Since(time.Unix(0, seg.lastHeard.Load())) > d
}

// Follow listens for what others say of these addresses: the complete list.
func (s *Set) Follow(addrs []netip.Addr) {
	followed := map[netip.Addr]bool{}
	for _, addr := range addrs {
		followed[addr] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followed = followed
}

// Run listens until ctx ends, and waits for everything it started.
func (s *Set) Run(ctx context.Context) error {
	var segments sync.WaitGroup
	defer func() {
		s.mu.Lock()
		s.closed = true
		for _, cancel := range s.probes {
			cancel()
		}
		s.mu.Unlock()
		s.running.Wait()
		segments.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case seg := <-s.starting:
			segments.Go(func() { s.listen(ctx, seg) })
		}
	}
}

// SetNICs opens connections on new NICs and closes those on NICs that are gone.
func (s *Set) SetNICs(ctx context.Context, nics []nic.NIC) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nics = nics
	present := map[string]int{}
	for _, n := range nics {
		present[n.Name] = n.Index
	}
	for name, seg := range s.segments {
		if index, ok := present[name]; !ok || index != seg.nic.Index {
			close(seg.stop)
			delete(s.segments, name)
		}
	}
	for _, n := range nics {
		if seg, ok := s.segments[n.Name]; ok {
			seg.nic = n
			continue
		}
		seg, err := s.open(n)
		if err != nil {
			// The next change of the NIC brings us back here.
			klog.FromContext(ctx).Error(err, "Opening an interface for ARP and neighbour discovery failed", "interface", n.Name)
			continue
		}
		s.segments[n.Name] = seg
		s.starting <- seg
	}
}

func (s *Set) open(n nic.NIC) (*segment, error) {
	ifi := &net.Interface{Index: n.Index, Name: n.Name, HardwareAddr: n.MAC}
	v4, err := arp.Listen(ifi)
	if err != nil {
		return nil, err
	}
	v6, err := ndp.Listen(ifi)
	if err != nil {
		return nil, errors.Join(err, v4.Close())
	}
	seg := &segment{nic: n, stop: make(chan struct{})}
	if seg.v4, err = s.side(v4); err == nil {
		seg.v6, err = s.side(v6)
	}
	if err != nil {
		return nil, errors.Join(err, v4.Close(), v6.Close())
	}
	return seg, nil
}

func (s *Set) side(l link) (*side, error) {
	prober, err := probe.New(l, probe.Options{Timing: s.opts.Timing, Limiter: s.opts.Limiter})
	if err != nil {
		return nil, fmt.Errorf("making a prober on %s: %w", l.Name(), err)
	}
	return &side{link: l, prober: prober}, nil
}

// listen reads both families of a segment until it is stopped.
func (s *Set) listen(ctx context.Context, seg *segment) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	name := seg.nic.Name // never changes; the rest of it does
	s.mu.Unlock()
	var readers sync.WaitGroup
	for _, one := range []*side{seg.v4, seg.v6} {
		readers.Go(func() {
			err := one.link.Run(ctx, func(h probe.Heard) {
				one.prober.Hear(h)
				s.lastHeard.Store(h.At.UnixNano())
				seg.lastHeard.Store(h.At.UnixNano())
				s.opts.Listen(name, h)
				if !one.prober.IsProxy(h.MAC) { // a proxy answers for everything and owns nothing
					s.hear(name, h)
				}
			})
			if err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).Info("Stopped listening on an interface", "interface", name, "err", err)
			}
			cancel() // one family alone is of no use: the interface is gone
		})
	}
	select {
	case <-ctx.Done():
	case <-seg.stop:
	}
	cancel()
	readers.Wait()
	for _, one := range []*side{seg.v4, seg.v6} {
		if err := one.link.Close(); err != nil {
			klog.FromContext(ctx).V(2).Info("Closing a connection failed", "interface", name, "err", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.segments[name] == seg {
		delete(s.segments, name) // so that a NIC of the same name is opened anew
	}
}

// hear passes on what others say about addresses that are followed.
func (s *Set) hear(nicName string, h probe.Heard) {
	s.mu.Lock()
	news := s.followed[h.Addr] && !s.ownMAC(h.Source)
	if news {
		key := hearing{nicName, h.Addr, h.MAC, h.Kind, h.Title, h.Titled}
		if last, ok := s.heard[key]; ok && h.At.Sub(last) < hearAgain {
			news = false
		} else {
			s.forgetOld(h.At)
			s.heard[key] = h.At
		}
	}
	s.mu.Unlock()
	if news {
		s.opts.Heard(nicName, h)
	}
}

// forgetOld keeps the memory of hearings as small as what was heard within the last second.
func (s *Set) forgetOld(now time.Time) {
	for key, at := range s.heard {
		if now.Sub(at) >= hearAgain {
			delete(s.heard, key)
		}
	}
}

func (s *Set) ownMAC(mac probe.MAC) bool {
	for _, n := range s.nics {
		if own, ok := probe.MACFrom(n.MAC); ok && own == mac {
			return true
		}
	}
	return false
}

func (seg *segment) side(addr netip.Addr) *side {
	if addr.Is4() {
		return seg.v4
	}
	return seg.v6
}

// Package probe finds out whether another machine holds an address before this
// node takes it (RFC 5227, RFC 4862), and for some seconds afterwards.
package probe

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/arp/wire"
)

// The types of what is heard, for consumers of the links.
type (
	// MAC is an Ethernet address.
	MAC = wire.MAC
	// Heard is what one frame of another machine said about one address.
	Heard = wire.Heard
	// Kind says in what way a Heard spoke of its address.
	Kind = wire.Kind
)

// The kinds of a Heard.
const (
	KindAnswer = wire.Answer
	KindClaim  = wire.Claim
	KindUse    = wire.Use
	KindProbe  = wire.Probe
)

// ErrGone is returned by a link whose interface no longer exists.
var ErrGone = wire.ErrGone

// ParseMAC parses the textual form of an Ethernet address.
func ParseMAC(s string) (MAC, error) { return wire.ParseMAC(s) }

// MACFrom converts a slice of exactly six octets.
func MACFrom(hw []byte) (MAC, bool) { return wire.MACFrom(hw) }

// Link probes for addresses of one family on one interface.
type Link interface {
	// Probe asks everybody who has addr, in a way that claims nothing.
	Probe(addr netip.Addr) error
	// ProbeTo asks one machine.
	ProbeTo(addr netip.Addr, to MAC) error
	// Join makes the probes of others for addr reach this machine; Leave ends
	// it.
	Join(addr netip.Addr) error
	Leave(addr netip.Addr) error
	// Sync returns after everything that the kernel had received before the
	// call was passed to Prober.Hear, or an error if nobody reads.
	Sync() error
}

// Limiter bounds the frames of the node; announce.Limiter is one.
type Limiter interface {
	// Wait blocks until n more frames may be sent or ctx is done.
	Wait(ctx context.Context, n int) error
}

// Options configure a Prober.
type Options struct {
	// Timing is Quick if zero.
	Timing Timing
	// Limiter bounds the frames sent; nil is no bound.
	Limiter Limiter
	// Clock is the real one if nil.
	Clock clock.Clock
}

// proxyMemory is how long a machine that proved to be a proxy is remembered.
const proxyMemory = 10 * time.Minute

// Prober probes for any number of addresses on one link at the same time. All
// methods are safe for concurrent use.
type Prober struct {
	link    Link
	timing  Timing
	limiter Limiter
	clock   clock.Clock

	mu       sync.Mutex
	sessions map[netip.Addr]map[*Session]struct{}
	// proxies are machines that answer for what they don't have, with the time
	// at which that is forgotten.
	proxies map[MAC]time.Time
}

// New returns a Prober on link. It hears nothing but what is passed to Hear.
func New(link Link, o Options) (*Prober, error) {
	if o.Timing == (Timing{}) {
		o.Timing = Quick()
	}
	if err := o.Timing.validate(); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &Prober{
		link: link, timing: o.Timing, limiter: o.Limiter, clock: o.Clock,
		sessions: map[netip.Addr]map[*Session]struct{}{}, proxies: map[MAC]time.Time{},
	}, nil
}

// Hear takes what the link's reader heard. It doesn't block.
func (p *Prober) Hear(h Heard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.sessions[h.Addr] {
		if s.core.hear(h) {
			s.poke()
		}
	}
}

// IsProxy reports whether mac proved to be a proxy on this link within the
// last ten minutes: what it says about addresses is no sign of an owner.
func (p *Prober) IsProxy(mac MAC) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isProxy(mac)
}

func (p *Prober) isProxy(mac MAC) bool {
	until, ok := p.proxies[mac]
	return ok && p.clock.Now().Before(until)
}

func (p *Prober) rememberProxy(mac MAC) {
	now := p.clock.Now()
	for m, until := range p.proxies {
		if !now.Before(until) {
			delete(p.proxies, m)
		}
	}
	p.proxies[mac] = now.Add(proxyMemory)
}

// Request says what to probe for.
type Request struct {
	Addr netip.Addr
	// Controls are addresses of the same subnet that nobody should hold: not
	// local, not a VIP (see Controls). A machine that answers for all of them
	// is a proxy. Without any, nobody is taken for a proxy.
	Controls []netip.Addr
	// Ignore tells the machines whose word about Addr is no conflict: our own
	// NICs and peers. It is called with the Prober locked: it must neither
	// block nor call the Prober. Nil ignores nobody, so that an own frame that
	// the network sends back is a conflict.
	Ignore func(MAC) bool
}

// Verdict is what a probe came to.
type Verdict struct {
	// Free is true if nobody else holds the address.
	Free bool
	// MAC is who holds or wants it otherwise, and Heard how it said so.
	MAC   MAC
	Heard Heard
	// Proxy is a machine that answered, but answers for unused addresses too.
	// Zero if there was none.
	Proxy MAC
	// Ignored is a machine that spoke for the address and is to be ignored: a
	// peer still holds it, or wants it. Zero if there was none.
	Ignored MAC
	// Took is the time from the first step to the verdict.
	Took time.Duration
}

// String returns the verdict as part of a log line.
func (v Verdict) String() string {
	switch {
	case !v.Free:
		return fmt.Sprintf("conflict with %s (%s)", v.MAC, v.Heard.Kind)
	case !v.Proxy.IsZero():
		return fmt.Sprintf("free, %s is a proxy", v.Proxy)
	default:
		return "free"
	}
}

package probe

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Session listens for one address from Open to Close. Its methods are not for
// concurrent use, but for Close after a canceled Probe or Late has returned.
type Session struct {
	p    *Prober
	core *core // guarded by p.mu
	wake chan struct{}
}

// Open begins to listen for r.Addr. What the link had received before is not
// counted. Close must be called.
func (p *Prober) Open(r Request) (*Session, error) {
	if !r.Addr.IsValid() || r.Addr.IsUnspecified() || r.Addr.IsMulticast() {
		return nil, fmt.Errorf("probing for %s: not a host address", r.Addr)
	}
	for _, a := range r.Controls {
		if a == r.Addr || a.Is4() != r.Addr.Is4() {
			return nil, fmt.Errorf("probing for %s: unsuitable control address %s", r.Addr, a)
		}
	}
	ignore := r.Ignore
	if ignore == nil {
		ignore = func(MAC) bool { return false }
	}
	if err := p.link.Join(r.Addr); err != nil {
		return nil, fmt.Errorf("probing for %s: %w", r.Addr, err)
	}
	if err := p.link.Sync(); err != nil {
		p.leave(r.Addr)
		return nil, fmt.Errorf("probing for %s: %w", r.Addr, err)
	}
	s := &Session{p: p, wake: make(chan struct{}, 1), core: &core{
		addr: r.Addr, timing: p.timing, controls: r.Controls, ignore: ignore, isProxy: p.isProxy,
		random:   func(n time.Duration) time.Duration { return rand.N(n) },
		suspects: map[MAC]*suspect{},
	}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range s.addrs() {
		if p.sessions[a] == nil {
			p.sessions[a] = map[*Session]struct{}{}
		}
		p.sessions[a][s] = struct{}{}
	}
	return s, nil
}

func (s *Session) addrs() []netip.Addr {
	return append([]netip.Addr{s.core.addr}, s.core.controls...)
}

// Close ends listening.
func (s *Session) Close() {
	s.p.mu.Lock()
	for _, a := range s.addrs() {
		delete(s.p.sessions[a], s)
		if len(s.p.sessions[a]) == 0 {
			delete(s.p.sessions, a)
		}
	}
	s.p.mu.Unlock()
	s.p.leave(s.core.addr)
}

// leave takes the Join of Open back. It fails only when the interface is gone,
// and its memberships with it.
func (p *Prober) leave(addr netip.Addr) { _ = p.link.Leave(addr) }

func (s *Session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Probe asks for the address and blocks until the verdict, with Quick timing
// for 12 ms if nobody answers. An error means that there is no verdict: a
// probe could not be sent, or ctx is done.
func (s *Session) Probe(ctx context.Context) (Verdict, error) {
	s.p.mu.Lock()
	s.core.begin(s.p.clock.Now())
	s.p.mu.Unlock()
	return s.run(ctx, "probing for")
}

// Late goes on listening after the address was bound, for Timing.Late, and
// returns early when another machine turns out to hold it. Frames heard since
// Probe's verdict count.
func (s *Session) Late(ctx context.Context) (Verdict, error) {
	s.p.mu.Lock()
	s.core.watch(s.p.clock.Now())
	s.p.mu.Unlock()
	return s.run(ctx, "watching for")
}

func (s *Session) run(ctx context.Context, doing string) (Verdict, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Verdict{}, fmt.Errorf("%s %s: %w", doing, s.core.addr, err)
		}
		act, wait, verdict, err := s.step()
		switch {
		case err != nil:
			return Verdict{}, fmt.Errorf("%s %s: %w", doing, s.core.addr, err)
		case verdict != nil:
			return *verdict, nil
		case act != nil:
			if err := s.send(ctx, act); err != nil {
				return Verdict{}, fmt.Errorf("%s %s: %w", doing, s.core.addr, err)
			}
		default:
			s.sleep(ctx, wait)
		}
	}
}

// step reads the clock, then what arrived until then, and only then decides:
// a process that was held up must not take its own deafness for silence.
func (s *Session) step() (*action, time.Duration, *Verdict, error) {
	p := s.p
	now := p.clock.Now()
	if err := p.link.Sync(); err != nil {
		return nil, 0, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	act, next, done := s.core.step(now)
	for _, mac := range s.core.proxies {
		if !p.isProxy(mac) {
			p.rememberProxy(mac)
		}
	}
	if done {
		v := s.core.verdict(now)
		return nil, 0, &v, nil
	}
	return act, next.Sub(now), nil, nil
}

func (s *Session) send(ctx context.Context, act *action) error {
	p := s.p
	if p.limiter != nil {
		if err := p.limiter.Wait(ctx, 1); err != nil {
			return err
		}
	}
	var err error
	if act.to.IsZero() {
		err = p.link.Probe(act.addr)
	} else {
		err = p.link.ProbeTo(act.addr, act.to)
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.core.did(act, p.clock.Now())
	return nil
}

func (s *Session) sleep(ctx context.Context, d time.Duration) {
	t := s.p.clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-s.wake:
	case <-t.C():
	}
}

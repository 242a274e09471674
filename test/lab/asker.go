package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/ethernet"
)

// Asker asks the segment for addresses at a steady pace, by ARP and neighbour
// solicitations of its own that no neighbour table delays, and notes who answers.
type Asker struct {
	host    *Host
	targets []netip.Addr
	every   time.Duration
	wires   map[bool]*wire
	stop    context.CancelFunc
	wg      sync.WaitGroup

	mu   sync.Mutex
	seen map[netip.Addr][]Sighting
	left map[netip.Addr]bool
	err  error
}

// Sighting is an unbroken run of answers for an address by one machine.
type Sighting struct {
	MAC         net.HardwareAddr
	First, Last time.Time
	Answers     int
}

// StartAsking begins to ask for the targets, each once per interval, until Stop.
func (h *Host) StartAsking(targets []netip.Addr, every time.Duration) (*Asker, error) {
	ctx, stop := context.WithCancel(context.Background())
	a := &Asker{
		host: h, targets: targets, every: every, stop: stop,
		wires: make(map[bool]*wire), seen: make(map[netip.Addr][]Sighting), left: make(map[netip.Addr]bool),
	}
	for _, t := range targets {
		if a.wires[t.Is6()] != nil {
			continue
		}
		etherType := ethernet.EtherTypeARP
		if t.Is6() {
			etherType = ethernet.EtherTypeIPv6
		}
		w, err := h.tap(etherType)
		if err != nil {
			stop()
			return nil, errors.Join(err, a.close())
		}
		a.wires[t.Is6()] = w
	}
	a.wg.Go(func() { a.fail(a.ask(ctx)) })
	for _, w := range a.wires {
		a.wg.Go(func() { a.fail(a.listen(w)) })
	}
	return a, nil
}

func (a *Asker) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = errors.Join(a.err, err)
}

func (a *Asker) close() error {
	var errs []error
	for _, w := range a.wires {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}

// askerGrace is how long the last questions have for their answers.
const askerGrace = 100 * time.Millisecond

// ask sends the questions until ctx ends.
func (a *Asker) ask(ctx context.Context) error {
	defer func() {
		for _, w := range a.wires {
			_ = w.SetReadDeadline(time.Now().Add(askerGrace))
		}
	}()
	ticker := time.NewTicker(a.every)
	defer ticker.Stop()
	for {
		for _, t := range a.targets {
			if a.leaves(t) {
				continue
			}
			if err := a.wires[t.Is6()].ask(t, a.host.V4, a.host.V6); err != nil && !isUnreachable(err) {
				return fmt.Errorf("asking for %s: %w", t, err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// listen notes answers until the deadline that ask sets.
func (a *Asker) listen(w *wire) error {
	buf := make([]byte, frameBufSize)
	for {
		target, mac, err := w.answer(buf)
		now := time.Now()
		switch {
		case errors.Is(err, errNoFrame):
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("reading answers: %w", err)
		default:
			a.note(target, mac, now)
		}
	}
}

func (a *Asker) note(target netip.Addr, mac net.HardwareAddr, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.seen[target]
	if n := len(list); n > 0 && bytes.Equal(list[n-1].MAC, mac) {
		list[n-1].Last = now
		list[n-1].Answers++
		return
	}
	a.seen[target] = append(list, Sighting{MAC: mac, First: now, Last: now, Answers: 1})
}

// Leave ends the questions for one target.
func (a *Asker) Leave(target netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left[target] = true
}

func (a *Asker) leaves(target netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.left[target]
}

// Sightings tells who has answered for the target so far, in order.
func (a *Asker) Sightings(target netip.Addr) []Sighting {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Sighting(nil), a.seen[target]...)
}

// Stop ends the asking. Sightings stay readable.
func (a *Asker) Stop() error {
	a.stop()
	a.wg.Wait()
	err := a.close()
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.err, err)
}

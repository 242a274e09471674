package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"evenkeel.io/evenkeel/announcer/arp"
	"evenkeel.io/evenkeel/announcer/ndp"
	"evenkeel.io/evenkeel/announcer/probe"
	"evenkeel.io/evenkeel/test/lab"
)

// askEvery is the pace at which the client asks for addresses that aren't there yet.
const askEvery = 10 * time.Millisecond

// ear notes when the client first hears where an address is. It keeps its sockets for as long as it listens: opening one per
// question would cost more than what is measured.
type ear struct {
	from   netip.Addr
	v4     *arp.Conn
	v6     *ndp.Conn
	cancel context.CancelFunc
	group  *errgroup.Group

	mu      sync.Mutex
	waiting map[netip.Addr]chan time.Time
}

func (e *Env) listen(ctx context.Context) (*ear, error) {
	l := &ear{from: e.Client.V4, waiting: map[netip.Addr]chan time.Time{}}
	err := e.Client.Do(func() error {
		nic, err := segmentNIC(e.Client)
		if err != nil {
			return err
		}
		if l.v4, err = arp.Listen(nic); err != nil {
			return err
		}
		l.v6, err = ndp.Listen(nic)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listening on the client: %w", err)
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.group, ctx = errgroup.WithContext(ctx)
	l.group.Go(func() error { return l.v4.Run(ctx, l.hear) })
	l.group.Go(func() error { return l.v6.Run(ctx, l.hear) })
	l.group.Go(func() error { return l.ask(ctx) })
	return l, nil
}

func segmentNIC(h *lab.Host) (*net.Interface, error) {
	nics, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, nic := range nics {
		if nic.HardwareAddr.String() == h.MAC.String() {
			return &nic, nil
		}
	}
	return nil, errors.New("no interface has the host's MAC address")
}

func (l *ear) close() error {
	l.cancel()
	return errors.Join(l.group.Wait(), l.v4.Close(), l.v6.Close())
}

func (l *ear) hear(h probe.Heard) {
	if !h.Owner() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.waiting[h.Addr]; ok {
		delete(l.waiting, h.Addr)
		c <- h.At
	}
}

// ask requests every address that is waited for.
func (l *ear) ask(ctx context.Context) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l.mu.Lock()
		var pending []netip.Addr
		for addr := range l.waiting {
			if addr.Is4() {
				pending = append(pending, addr)
			}
		}
		l.mu.Unlock()
		for _, addr := range pending {
			if err := l.v4.Request(l.from, addr, broadcast); err != nil {
				return err
			}
		}
	}
}

var broadcast = probe.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// wait returns when the address was first heard of.
func (l *ear) wait(ctx context.Context, addr netip.Addr) (time.Time, error) {
	c := make(chan time.Time, 1)
	l.mu.Lock()
	l.waiting[addr] = c
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case at := <-c:
		return at, nil
	case <-ctx.Done():
		return time.Time{}, fmt.Errorf("hearing of %s: %w", addr, ctx.Err())
	}
}

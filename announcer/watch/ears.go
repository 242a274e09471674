package watch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/echo"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
)

var errNotOpen = errors.New("the interface is not open")

// openAgain is the least time between two attempts to open an interface.
const openAgain = time.Second

// ears are the echo connections of all NICs. Only their owner, the loop of a Watch, calls their methods.
type ears struct {
	clock clock.Clock
	heard func(nicName string, m echo.Message)
	open  map[string]*ear
	tried map[string]time.Time
	group sync.WaitGroup
}

// ear is one NIC's pair of connections.
type ear struct {
	nic    nic.NIC
	v4, v6 *echo.Conn
	stop   context.CancelFunc
	gone   chan struct{} // closed when one of the connections ended by itself
}

func newEars(clock clock.Clock, heard func(string, echo.Message)) *ears {
	return &ears{clock: clock, heard: heard, open: map[string]*ear{}, tried: map[string]time.Time{}}
}

// follow opens connections on new NICs and closes those of NICs that are gone.
func (e *ears) follow(ctx context.Context, nics []nic.NIC) {
	present := map[string]nic.NIC{}
	for _, n := range nics {
		present[n.Name] = n
	}
	for name, one := range e.open {
		n, ok := present[name]
		select {
		case <-one.gone:
			ok = false
		default:
		}
		if ok && n.Index == one.nic.Index {
			one.nic = n
			continue
		}
		one.stop()
		delete(e.open, name)
	}
	for _, n := range nics {
		now := e.clock.Now()
		if _, ok := e.open[n.Name]; ok || now.Sub(e.tried[n.Name]) < openAgain {
			continue
		}
		e.tried[n.Name] = now
		if err := e.listen(ctx, n); err != nil {
			klog.FromContext(ctx).Error(err, "Opening an interface for echo failed, nothing is guarded behind it", "interface", n.Name)
		}
	}
}

func (e *ears) listen(ctx context.Context, n nic.NIC) error {
	ifi := &net.Interface{Index: n.Index, Name: n.Name, HardwareAddr: n.MAC}
	v4, err := echo.Listen(ifi, true)
	if err != nil {
		return err
	}
	v6, err := echo.Listen(ifi, false)
	if err != nil {
		return errors.Join(err, v4.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	one := &ear{nic: n, v4: v4, v6: v6, stop: stop, gone: make(chan struct{})}
	e.open[n.Name] = one
	var once sync.Once
	for _, conn := range []*echo.Conn{v4, v6} {
		e.group.Go(func() {
			if err := conn.Run(ctx, func(m echo.Message) { e.heard(n.Name, m) }); err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).V(1).Info("Stopped listening for echo on an interface", "interface", n.Name, "err", err)
				once.Do(func() { close(one.gone) })
			}
			stop()           // one family alone is of no use: the interface is gone
			_ = conn.Close() // nothing is lost with it
		})
	}
	return nil
}

// sync hands over everything that the kernel has received. A connection that can't is about to end by itself.
func (e *ears) sync() {
	for _, one := range e.open {
		_ = one.v4.Sync()
		_ = one.v6.Sync()
	}
}

func (e *ears) ask(p liveness.Probe) error {
	one, ok := e.open[p.NIC]
	if !ok {
		return fmt.Errorf("asking %s for %s: %w", p.MAC, p.Addr, errNotOpen)
	}
	conn := one.v4
	if p.Addr.Is6() {
		conn = one.v6
	}
	return conn.Ask(one.nic.OwnAddress(p.Addr), p.Addr, p.MAC)
}

func (e *ears) close() {
	for _, one := range e.open {
		one.stop()
	}
	e.group.Wait()
}

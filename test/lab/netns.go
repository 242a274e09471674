package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Netns is a named network namespace of the lab. `ip netns exec NAME …` reaches
// it from a shell in the lab. Its methods may be called from several goroutines.
type Netns struct {
	name string

	mu     sync.RWMutex
	handle netns.NsHandle
}

// ErrPoweredOff is returned for a namespace that a power loss has taken away.
var ErrPoweredOff = errors.New("powered off")

// newNetns makes a namespace with loopback up and without IPv6 duplicate address
// detection, which would keep every new address unusable for a second.
func newNetns(name string) (*Netns, error) {
	n := &Netns{name: name, handle: netns.None()}
	return n, n.create()
}

// create makes the namespace; again, after remove.
func (n *Netns) create() error {
	var handle netns.NsHandle
	err := onOwnThread(func() error {
		var err error
		handle, err = netns.NewNamed(n.name)
		return err
	})
	if err != nil {
		return fmt.Errorf("making namespace %s: %w", n.name, err)
	}
	n.mu.Lock()
	n.handle = handle
	n.mu.Unlock()
	err = n.Do(func() error {
		for _, s := range [][2]string{
			{"net/ipv6/conf/all/accept_dad", "0"},
			{"net/ipv6/conf/default/accept_dad", "0"},
			{"net/ipv6/conf/default/dad_transmits", "0"},
			{"net/ipv6/conf/default/accept_ra", "0"},
			{"net/ipv6/conf/default/router_solicitations", "0"},
			{"net/ipv4/conf/all/rp_filter", "0"},
			{"net/ipv4/conf/default/rp_filter", "0"},
		} {
			if err := setSysctl(s[0], s[1]); err != nil {
				return err
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("finding lo: %w", err)
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return fmt.Errorf("raising lo: %w", err)
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, n.remove())
	}
	return nil
}

// Name of the namespace, as ip-netns knows it.
func (n *Netns) Name() string { return n.name }

// remove takes the namespace's name away. The kernel ends the namespace itself
// when its last process and socket have gone.
func (n *Netns) remove() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.handle.IsOpen() {
		return nil
	}
	var errs []error
	if err := netns.DeleteNamed(n.name); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, fmt.Errorf("removing namespace %s: %w", n.name, err))
	}
	if err := n.handle.Close(); err != nil {
		errs = append(errs, fmt.Errorf("closing namespace %s: %w", n.name, err))
	}
	return errors.Join(errs...)
}

// inode identifies the namespace among those of processes.
func (n *Netns) inode() (uint64, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var st unix.Stat_t
	if !n.handle.IsOpen() {
		return 0, fmt.Errorf("namespace %s: %w", n.name, ErrPoweredOff)
	}
	if err := unix.Fstat(int(n.handle), &st); err != nil {
		return 0, fmt.Errorf("looking at namespace %s: %w", n.name, err)
	}
	return st.Ino, nil
}

// enter puts the calling thread into the namespace.
func (n *Netns) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.handle.IsOpen() {
		return ErrPoweredOff
	}
	if err := netns.Set(n.handle); err != nil {
		return fmt.Errorf("entering: %w", err)
	}
	return nil
}

// Do runs f on a thread inside the namespace. Sockets and processes that f makes
// belong to the namespace for good; goroutines that it starts do not.
func (n *Netns) Do(f func() error) error {
	err := onOwnThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		return fmt.Errorf("in namespace %s: %w", n.name, err)
	}
	return nil
}

// onOwnThread runs f on a thread that no other goroutine uses, and that ends
// with f: f may change the thread's namespace and needn't change it back.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The main thread never ends, and /proc/self shows its namespaces.
			// While it is held here the next goroutine runs on another one.
			done <- onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		// Never unlocked: the runtime then ends the thread with the goroutine.
		done <- f()
	}()
	return <-done
}

// Listen is net.ListenConfig's Listen inside the namespace.
func (n *Netns) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenPacket is net.ListenConfig's ListenPacket inside the namespace.
func (n *Netns) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var pc net.PacketConn
	err := n.Do(func() (err error) {
		var lc net.ListenConfig
		pc, err = lc.ListenPacket(ctx, network, address)
		return err
	})
	return pc, err
}

// DialContext is net.Dialer's DialContext inside the namespace; the address must
// be a literal one, because there is no name server in a lab.
func (n *Netns) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		// Happy Eyeballs would dial on another goroutine, and so outside; it is
		// for names, which have several addresses.
		d := net.Dialer{FallbackDelay: -1}
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// netlink runs f with a netlink handle of the namespace.
func (n *Netns) netlink(f func(h *netlink.Handle) error) error {
	var h *netlink.Handle
	err := n.Do(func() (err error) {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	defer h.Close()
	return f(h)
}

// setSysctl writes a value below /proc/sys, in the calling thread's namespace.
func setSysctl(key, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s=%s: %w", strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}

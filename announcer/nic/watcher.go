package nic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/address/rtnl"
)

// sysClassNet holds a folder per interface of the namespace that mounted it.
const sysClassNet = "/sys/class/net"

// Options configure a Watcher.
type Options struct {
	// Filter chooses the interfaces; the zero Filter is the default one.
	Filter Filter
	// Notify, if set, is told the new snapshot after each change, by the goroutine of Run. It must not block.
	Notify func([]NIC)
	// NetNS is the file descriptor of a network namespace, 0 for the caller's.
	NetNS int
}

// Watcher follows the interfaces. Snapshot may be called concurrently.
type Watcher struct {
	opts    Options
	conn    *rtnl.Conn
	monitor *rtnl.Monitor

	// links and own are only touched by New and Run.
	links map[int]link
	own   map[int]map[netip.Prefix]struct{}

	mu   sync.RWMutex
	nics []NIC
}

type link struct {
	rtnl.Link
	speed int64
}

// NewWatcher subscribes to changes and lists what is there.
func NewWatcher(opts Options) (*Watcher, error) {
	conn, err := rtnl.Dial(opts.NetNS)
	if err != nil {
		return nil, err
	}
	monitor, err := rtnl.NewMonitor(opts.NetNS)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if opts.Notify == nil {
		opts.Notify = func([]NIC) {}
	}
	w := &Watcher{opts: opts, conn: conn, monitor: monitor}
	if err := w.relist(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.publish()
	return w, nil
}

// Close ends the subscription. It must be called after Run has returned.
func (w *Watcher) Close() error { return errors.Join(w.monitor.Close(), w.conn.Close()) }

// Snapshot returns the interfaces that may carry VIPs, by name. It must not be changed.
func (w *Watcher) Snapshot() []NIC {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.nics
}

// Run follows changes until ctx ends, which is no error.
func (w *Watcher) Run(ctx context.Context) error {
	for {
		events, err := w.monitor.Read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, rtnl.ErrOverrun):
			klog.FromContext(ctx).Info("Kernel notifications were lost, listing interfaces")
			if err := w.relist(); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("following interfaces: %w", err)
		}
		for _, e := range events {
			w.apply(e)
		}
		if w.publish() {
			w.opts.Notify(w.Snapshot())
		}
	}
}

func (w *Watcher) relist() error {
	links, err := w.conn.Links()
	if err != nil {
		return err
	}
	addrs, err := w.conn.Addresses()
	if err != nil {
		return err
	}
	w.links = map[int]link{}
	w.own = map[int]map[netip.Prefix]struct{}{}
	for _, l := range links {
		w.apply(rtnl.Event{Link: &l})
	}
	for _, a := range addrs {
		w.apply(rtnl.Event{Address: &a})
	}
	return nil
}

// apply takes one change in.
func (w *Watcher) apply(e rtnl.Event) {
	switch {
	case e.Link != nil && e.Removed:
		delete(w.links, e.Link.Index)
		delete(w.own, e.Link.Index)
	case e.Link != nil:
		if !e.Link.Loopback {
			w.links[e.Link.Index] = link{Link: *e.Link, speed: speed(e.Link.Name)}
		}
	case e.Removed:
		delete(w.own[e.Address.Index], e.Address.Prefix)
	case address.Own(*e.Address):
		set := w.own[e.Address.Index]
		if set == nil {
			set = map[netip.Prefix]struct{}{}
			w.own[e.Address.Index] = set
		}
		set[e.Address.Prefix] = struct{}{}
	default:
		// An own address may cease to be usable: duplicate address detection that failed.
		delete(w.own[e.Address.Index], e.Address.Prefix)
	}
}

// darkMasters returns the bridges and bonds that have ports, none of them with a carrier. The kernel says so of the bridge itself up
// to a second later, as it bundles such news (net/core/link_watch.c).
func (w *Watcher) darkMasters() map[int]bool {
	dark := map[int]bool{}
	for _, l := range w.links {
		if l.Port {
			_, other := dark[l.Master]
			dark[l.Master] = !l.Carrier && (dark[l.Master] || !other)
		}
	}
	return dark
}

// mayAnnounce says whether an interface is a NIC of its own, and one that ARP is spoken on: the ports of a bridge or a bond speak
// for that, and what has no Ethernet address is a tunnel.
func mayAnnounce(l rtnl.Link) bool { return !l.Port && len(l.MAC) == ethernetAddress }

// ethernetAddress is the length of a MAC address of Ethernet in bytes.
const ethernetAddress = 6

// publish makes a new snapshot and says whether it differs from the last.
func (w *Watcher) publish() bool {
	nics := make([]NIC, 0, len(w.links))
	dark := w.darkMasters()
	for _, l := range w.links {
		if !mayAnnounce(l.Link) || !w.opts.Filter.Allows(l.Name) {
			continue
		}
		n := NIC{Name: l.Name, Index: l.Index, MAC: l.MAC, Up: l.Up, Carrier: l.Carrier && !dark[l.Index], SpeedMbps: l.speed}
		for p := range w.own[l.Index] {
			n.Addresses = append(n.Addresses, p)
		}
		slices.SortFunc(n.Addresses, netip.Prefix.Compare)
		nics = append(nics, n)
	}
	slices.SortFunc(nics, func(a, b NIC) int { return cmp.Compare(a.Name, b.Name) })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nics != nil && slices.EqualFunc(w.nics, nics, NIC.equal) {
		return false
	}
	w.nics = nics
	return true
}

// speed reads a link's speed in Mbit/s from sysfs, which reports -1 or an error where it is unknown.
func speed(name string) int64 {
	content, err := os.ReadFile(filepath.Join(sysClassNet, filepath.Base(name), "speed"))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

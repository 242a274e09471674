// Package quiet keeps the node's other NICs quiet about a VIP. Linux answers an ARP request for any of its addresses on any NIC
// (arp_ignore 0, the default), by that NIC's MAC address: with several NICs a VIP would be answered for on segments that it doesn't
// belong to, and twice where two NICs are on one segment. One nftables rule in the arp family drops such requests for VIPs, and for
// nothing else: sysctls, which hold for all of the node's addresses, stay as they are. IPv6 needs none of it, as the kernel answers
// neighbour solicitations only on the NIC that has the address (net/ipv6/ndisc.c, ndisc_recv_ns).
//
// Elements carry a timeout and are renewed like the addresses: nothing outlives an announcer that has gone but an empty table.
package quiet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/nft"
	"evenkeel.io/evenkeel/announcer/protect"
)

// ErrUnsupported says that the kernel can't filter ARP by nftables.
var ErrUnsupported = nft.ErrUnsupported

const (
	// DefaultTable is the table's name.
	DefaultTable = "evenkeel"
	// DefaultTimeout is longer than an address lives on after an announcer's orderly end (90 s).
	DefaultTimeout = 110 * time.Second
	// batch bounds the addresses of one transaction.
	batch = 400
)

// Options configure a Table.
type Options struct {
	// Name of the nftables table; DefaultTable if empty.
	Name string
	// Timeout of elements; DefaultTimeout if zero. They are renewed by Renew.
	Timeout time.Duration
	// NetNS is the file descriptor of a network namespace, 0 for the caller's.
	NetNS int
}

func (o *Options) complete() error {
	if o.Name == "" {
		o.Name = DefaultTable
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Timeout < time.Second {
		return fmt.Errorf("checking options: timeout %s is below a second", o.Timeout)
	}
	return nil
}

// Table is the nftables table. Its methods may be called concurrently.
type Table struct {
	opts  Options
	table *nftables.Table
	link  *nft.Link

	mu sync.Mutex
	// have is what the kernel holds, as far as we know: the index of each VIP's NIC.
	have map[netip.Addr]int
}

// New returns a Table that nothing has been done about yet.
func New(opts Options) (*Table, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	return &Table{
		opts: opts, have: map[netip.Addr]int{}, link: nft.NewLink(opts.NetNS),
		table: &nftables.Table{Name: opts.Name, Family: nftables.TableFamilyARP},
	}, nil
}

// Open creates the table, or takes over the one of a process before together with its elements. It fails with ErrUnsupported where
// the kernel can't do it.
func (t *Table) Open(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := nft.Unsupported(t.open()); err != nil {
		return fmt.Errorf("opening ARP table %s: %w", t.opts.Name, err)
	}
	return nil
}

func (t *Table) open() error {
	// Alone, so that a kernel without the arp family says so before a transaction of many answers is waited for.
	if err := t.link.Do(func(c *nftables.Conn) error { c.AddTable(t.table); return nil }); err != nil {
		return err
	}
	if err := t.rebuild(); err != nil {
		return err
	}
	return t.link.Do(func(c *nftables.Conn) error {
		list, err := c.GetSetElements(t.homes())
		if err != nil {
			return fmt.Errorf("reading the addresses of an earlier process: %w", err)
		}
		for _, one := range list {
			if addr, index, ok := parseHome(one.Key); ok {
				t.have[addr] = index
			}
		}
		return nil
	})
}

// rebuild makes sure of the table's structure. One of another make is replaced, elements included.
func (t *Table) rebuild() error {
	first := t.link.Do(t.build)
	if first == nil {
		return nil
	}
	err := t.link.Do(func(c *nftables.Conn) error {
		c.AddTable(t.table)
		c.DelTable(t.table)
		return t.build(c)
	})
	if err != nil {
		return errors.Join(first, err)
	}
	return nil
}

// Set makes the table hold exactly the IPv4 addresses of entries. One whose NIC isn't known stays as it is.
func (t *Table) Set(_ context.Context, entries []protect.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	want := map[netip.Addr]int{}
	for _, e := range entries {
		index, known := e.Interface, e.Interface != 0
		if !known {
			index, known = t.have[e.Addr]
		}
		if known && e.Addr.Is4() {
			want[e.Addr] = index
		}
	}
	changed := map[netip.Addr]bool{}
	for addr, index := range want {
		if old, ok := t.have[addr]; !ok || old != index {
			changed[addr] = true
		}
	}
	for addr := range t.have {
		if _, ok := want[addr]; !ok {
			changed[addr] = true
		}
	}
	return t.apply(slices.Collect(maps.Keys(changed)), want)
}

// Renew makes sure of the table's structure and starts the timeouts of all elements anew. What a reload of the node's firewall has
// removed is there again afterwards.
func (t *Table) Renew(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.have) == 0 {
		return nil
	}
	if err := t.rebuild(); err != nil {
		return fmt.Errorf("renewing ARP table %s: %w", t.opts.Name, err)
	}
	return t.apply(slices.Collect(maps.Keys(t.have)), maps.Clone(t.have))
}

// apply brings some addresses to what want says of them. The caller holds mu.
func (t *Table) apply(addrs []netip.Addr, want map[netip.Addr]int) error {
	slices.SortFunc(addrs, netip.Addr.Compare)
	for some := range slices.Chunk(addrs, batch) {
		err := t.transact(some, want)
		if errors.Is(err, unix.ENOENT) { // somebody has flushed the node's rules
			if err = t.rebuild(); err == nil {
				err = t.transact(some, want)
			}
		}
		if err != nil {
			return fmt.Errorf("keeping other interfaces from answering for %s and others: %w", some[0], err)
		}
	}
	return nil
}

// transact replaces the elements of some addresses. One that is there may have timed out, or be about to: adding it, deleting it and
// adding it again works in either case and on every kernel, and packets see only the outcome. A new one is just added.
func (t *Table) transact(addrs []netip.Addr, want map[netip.Addr]int) error {
	var vips, homes, oldVIPs, oldHomes [][]byte
	for _, addr := range addrs {
		if index, ok := t.have[addr]; ok {
			oldVIPs, oldHomes = append(oldVIPs, addr.AsSlice()), append(oldHomes, homeKey(addr, index))
		}
		if index, ok := want[addr]; ok {
			vips, homes = append(vips, addr.AsSlice()), append(homes, homeKey(addr, index))
		}
	}
	err := t.link.Do(func(c *nftables.Conn) error {
		for _, step := range []struct {
			set      *nftables.Set
			old, now [][]byte
		}{{t.homes(), oldHomes, homes}, {t.vips(), oldVIPs, vips}} {
			old, now := elements(step.old, t.opts.Timeout), elements(step.now, t.opts.Timeout)
			if len(old) > 0 {
				if err := errors.Join(c.SetAddElements(step.set, old), c.SetDeleteElements(step.set, old)); err != nil {
					return err
				}
			}
			if len(now) > 0 {
				if err := c.SetAddElements(step.set, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, addr := range addrs {
		if index, ok := want[addr]; ok {
			t.have[addr] = index
		} else {
			delete(t.have, addr)
		}
	}
	return nil
}

// Close deletes the table if it holds nothing. Otherwise it stays for the next process, and its elements time out if none comes.
func (t *Table) Close(context.Context) error {
	defer t.link.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.have) > 0 {
		return nil
	}
	err := t.link.Do(func(c *nftables.Conn) error { c.DelTable(t.table); return nil })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing ARP table %s: %w", t.opts.Name, err)
	}
	return nil
}

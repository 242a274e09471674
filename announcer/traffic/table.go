package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/announcer/nft"
)

// ErrUnsupported says that the kernel has no nf_tables, or no counters for the elements of a set. VIPs aren't measured then.
var ErrUnsupported = nft.ErrUnsupported

const (
	// DefaultName of the table.
	DefaultName = "evenkeel-traffic"
	// DefaultTimeout of elements.
	DefaultTimeout = 110 * time.Second
	// chunk is how many elements one message has.
	chunk = 200
)

// TableOptions configure a Table.
type TableOptions struct {
	// Name of the nftables table; DefaultName if empty.
	Name string
	// Timeout of elements; DefaultTimeout if zero. They have to be renewed several times within it.
	Timeout time.Duration
	// NetNS is the file descriptor of a network namespace, 0 for the caller's.
	NetNS int
}

// Counts are what was counted of one address, or of several: bytes from the network header on, in and out, and connections that began.
type Counts struct {
	Bytes, Packets, Connections uint64
}

// Table is the nftables table. Its methods may be called concurrently.
type Table struct {
	opts  TableOptions
	table *nftables.Table
	link  *nft.Link

	mu sync.Mutex
	// have are the addresses that are counted, as far as we know, in order.
	have []netip.Addr
}

// NewTable returns a Table that nothing has been done about yet.
func NewTable(opts TableOptions) (*Table, error) {
	opts.Name, opts.Timeout = cmp.Or(opts.Name, DefaultName), cmp.Or(opts.Timeout, DefaultTimeout)
	if opts.Timeout < time.Second {
		return nil, fmt.Errorf("checking options: timeout %s is below a second", opts.Timeout)
	}
	return &Table{
		opts:  opts,
		table: &nftables.Table{Name: opts.Name, Family: nftables.TableFamilyINet},
		link:  nft.NewLink(opts.NetNS),
	}, nil
}

// Open makes the table, in place of what an earlier process left: counts only matter as differences. It fails with ErrUnsupported where
// the kernel can't do it.
func (t *Table) Open(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.open(); err != nil {
		t.link.Close()
		return fmt.Errorf("opening table %s: %w", t.opts.Name, err)
	}
	return nil
}

func (t *Table) open() error {
	// Alone, so that a kernel without nf_tables says so before a transaction of many answers is waited for.
	if err := t.link.Do(func(c *nftables.Conn) error { c.AddTable(t.table); return nil }); err != nil {
		return nft.Unsupported(err)
	}
	t.have = nil
	err := nft.Unsupported(t.replace())
	if err == nil {
		err = t.tryOut()
	}
	if err != nil {
		return errors.Join(err, t.remove()) // what can't be used shouldn't be left lying about
	}
	return nil
}

// tryOut makes sure that elements have counters: older kernels overlook that they are asked for.
func (t *Table) tryOut() error {
	nobody := []nftables.SetElement{{Key: make([]byte, families[0].len), Timeout: t.opts.Timeout}}
	set := t.set(in, families[0])
	if err := t.link.Do(func(c *nftables.Conn) error { return c.SetAddElements(set, nobody) }); err != nil {
		return nft.Unsupported(err)
	}
	return t.link.Do(func(c *nftables.Conn) error {
		list, err := c.GetSetElements(set)
		if err != nil {
			return err
		}
		if len(list) != 1 || list[0].Counter == nil {
			return errors.Join(ErrUnsupported, errors.New("the elements of its sets have no counters; Linux 5.7 is the first that has"))
		}
		return c.SetDeleteElements(set, nobody)
	})
}

// replace makes the table anew with all that it should hold. The caller holds mu.
func (t *Table) replace() error {
	return t.link.Do(func(c *nftables.Conn) error {
		c.AddTable(t.table)
		c.DelTable(t.table)
		return errors.Join(t.build(c), t.stage(c, t.have, nil))
	})
}

// Set has exactly these addresses counted. Those that are counted already go on being.
func (t *Table) Set(_ context.Context, addrs []netip.Addr) error {
	want := slices.Compact(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare))
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.link.Do(func(c *nftables.Conn) error { return t.stage(c, lacking(t.have, want), lacking(want, t.have)) })
	if errors.Is(err, unix.ENOENT) { // somebody has flushed the node's rules
		before := t.have
		t.have = want
		if err = t.replace(); err != nil {
			t.have = before
		}
	}
	if err != nil {
		return fmt.Errorf("counting the VIPs' traffic: %w", err)
	}
	t.have = want
	return nil
}

// lacking is what to has and from hasn't.
func lacking(from, to []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(to), func(addr netip.Addr) bool { return slices.Contains(from, addr) })
}

// Renew makes sure of the structure and starts the timeouts of all elements anew, and their counters: read them before. What a reload of
// the node's firewall has removed is there again afterwards.
func (t *Table) Renew(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.link.Do(func(c *nftables.Conn) error { return errors.Join(t.build(c), t.stage(c, t.have, nil)) })
	if err != nil { // something that isn't ours stands there
		err = t.replace()
	}
	if err != nil {
		return fmt.Errorf("renewing what counts the VIPs' traffic: %w", err)
	}
	return nil
}

// stage adds a change to a transaction. An element may have timed out, or be about to: adding it, deleting it and adding it again works
// in either case and on every kernel.
func (t *Table) stage(c *nftables.Conn, add, remove []netip.Addr) error {
	for _, f := range families {
		added, removed := t.elements(f, add), t.elements(f, remove)
		for k := range kinds {
			s := t.set(k, f)
			for part := range slices.Chunk(removed, chunk) {
				if err := errors.Join(c.SetAddElements(s, part), c.SetDeleteElements(s, part)); err != nil {
					return err
				}
			}
			for part := range slices.Chunk(added, chunk) {
				if err := errors.Join(c.SetAddElements(s, part), c.SetDeleteElements(s, part), c.SetAddElements(s, part)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// elements are those of one family.
func (t *Table) elements(f family, addrs []netip.Addr) []nftables.SetElement {
	var list []nftables.SetElement
	for _, addr := range addrs {
		if addr.IsValid() && addr.Is6() == f.v6 {
			list = append(list, nftables.SetElement{Key: addr.AsSlice(), Timeout: t.opts.Timeout})
		}
	}
	return list
}

// Read returns what was counted of each address since its element was made. One that is missing has no whole set of elements now: it has
// timed out, or the sets were changed while they were read.
func (t *Table) Read(context.Context) (map[netip.Addr]Counts, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts := map[netip.Addr]Counts{}
	err := t.link.Do(func(c *nftables.Conn) error {
		for _, f := range families {
			if !slices.ContainsFunc(t.have, func(addr netip.Addr) bool { return addr.Is6() == f.v6 }) {
				continue
			}
			if err := t.read(c, f, counts); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was counted: %w", err)
	}
	return counts, nil
}

func (t *Table) read(c *nftables.Conn, f family, counts map[netip.Addr]Counts) error {
	var sets [kinds]map[netip.Addr]Counts
	for k := range kinds {
		list, err := c.GetSetElements(t.set(k, f))
		if err != nil {
			return fmt.Errorf("set %s: %w", kindNames[k]+f.suffix, err)
		}
		sets[k] = map[netip.Addr]Counts{}
		for _, el := range list {
			if addr, ok := netip.AddrFromSlice(el.Key); ok && el.Counter != nil {
				sets[k][addr] = Counts{Bytes: el.Counter.Bytes, Packets: el.Counter.Packets}
			}
		}
	}
	for addr, came := range sets[in] {
		went, ok := sets[out][addr]
		began, ok2 := sets[fresh][addr]
		if ok && ok2 {
			counts[addr] = Counts{came.Bytes + went.Bytes, came.Packets + went.Packets, began.Packets}
		}
	}
	return nil
}

// Close deletes the table.
func (t *Table) Close(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.link.Close()
	t.have = nil
	return t.remove()
}

func (t *Table) remove() error {
	err := t.link.Do(func(c *nftables.Conn) error { c.DelTable(t.table); return nil })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing table %s: %w", t.opts.Name, err)
	}
	return nil
}

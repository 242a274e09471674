package protect

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
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/nft"
)

const (
	// batchElements bounds one transaction: each element is sent up to three times at some 70 bytes, and a message to
	// the kernel must fit into the socket's send buffer.
	batchElements = 400
	// renewalsPerTimeout leaves three more tries after a renewal that failed.
	renewalsPerTimeout = 4
)

// Table is the nftables table. Its methods may be called concurrently.
type Table struct {
	opts  Options
	table *nftables.Table
	link  *nft.Link

	mu sync.Mutex
	// have is what the kernel holds, as far as we know.
	have map[element]struct{}
	// last is the outcome of the last renewal.
	last error
}

// New returns a Table that nothing has been done about yet.
func New(opts Options) (*Table, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	return &Table{
		opts:  opts,
		table: &nftables.Table{Name: opts.Name, Family: nftables.TableFamilyINet},
		link:  nft.NewLink(opts.NetNS),
		have:  map[element]struct{}{},
	}, nil
}

// Open creates the table, or takes over the one of a process before together with its elements: protection has no gap
// and nothing that passed is dropped. (Only where another version left sets or chains of another make, elements come
// back with the first Set.) It fails with ErrUnsupported where the kernel can't do it.
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
	if err := nft.Unsupported(t.rebuild()); err != nil {
		if errors.Is(err, ErrUnsupported) {
			// What can't be filled shouldn't be left lying about.
			err = errors.Join(err, t.link.Do(func(c *nftables.Conn) error { c.DelTable(t.table); return nil }))
		}
		return err
	}
	return t.link.Do(func(c *nftables.Conn) (err error) {
		t.have, err = t.inherit(c)
		return err
	})
}

// rebuild makes sure of the table's structure. One that another version left with sets or chains that can't be reused
// is replaced in one transaction, elements included. The caller holds mu.
func (t *Table) rebuild() error {
	first := t.link.Do(t.build)
	if first == nil {
		return nil
	}
	err := t.link.Do(func(c *nftables.Conn) error {
		c.AddTable(t.table)
		c.DelTable(t.table)
		return errors.Join(t.build(c), t.stage(c, unit{add: slices.Collect(maps.Keys(t.have))}))
	})
	if err != nil {
		return errors.Join(first, err)
	}
	return nil
}

// inherit reads the elements that are there.
func (t *Table) inherit(c *nftables.Conn) (map[element]struct{}, error) {
	have := map[element]struct{}{}
	for _, f := range families {
		for k := range kinds {
			list, err := c.GetSetElements(t.set(k, f))
			if err != nil {
				return nil, fmt.Errorf("reading set %s: %w", t.set(k, f).Name, err)
			}
			for _, se := range list {
				if e, ok := parseKey(k, f.v6, se.Key); ok {
					have[e] = struct{}{}
				}
			}
		}
	}
	return have, nil
}

// Set makes the sets hold exactly what entries need. An address whose elements the kernel refuses doesn't keep the
// others out; the error names it.
func (t *Table) Set(_ context.Context, entries []Entry) error {
	want := map[element]struct{}{}
	for _, entry := range entries {
		for _, e := range entry.elements() {
			want[e] = struct{}{}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.apply(diff(want, t.have))
}

// Renew makes sure of the table's structure and starts the timeouts of all elements anew. What a reload of the node's
// firewall has removed is there again afterwards.
func (t *Table) Renew(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = t.renew()
	return t.last
}

func (t *Table) renew() error {
	if err := t.rebuild(); err != nil {
		return fmt.Errorf("renewing table %s: %w", t.opts.Name, err)
	}
	// Against nothing, everything is to be added; the elements are still in t.have if that fails.
	return t.apply(diff(t.have, nil))
}

// Run renews until ctx ends, which is no error. Failures are logged, tried again and told by Err.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(t.opts.Timeout / renewalsPerTimeout)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := t.Renew(ctx); err != nil {
				klog.FromContext(ctx).Error(err, "Renewing the protection of VIPs")
			}
		}
	}
}

// Err is the outcome of the last renewal.
func (t *Table) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// Close deletes the table if it holds nothing. Otherwise it stays for the next process, and its elements time out if
// none comes.
func (t *Table) Close(ctx context.Context) error {
	defer t.link.Close()
	t.mu.Lock()
	empty := len(t.have) == 0
	t.mu.Unlock()
	if !empty {
		return nil
	}
	return t.Remove(ctx)
}

// Remove deletes the table with everything in it.
func (t *Table) Remove(context.Context) error {
	defer t.link.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.link.Do(func(c *nftables.Conn) error { c.DelTable(t.table); return nil })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing table %s: %w", t.opts.Name, err)
	}
	t.have = map[element]struct{}{}
	return nil
}

// apply sends units in few transactions; one that fails is repeated address by address. The caller holds mu.
func (t *Table) apply(units []unit) error {
	var failed []error
	var batch []unit
	size := 0
	flush := func() {
		failed = append(failed, t.send(batch)...)
		batch, size = nil, 0
	}
	for _, u := range units {
		if size > 0 && size+u.size() > batchElements {
			flush()
		}
		batch, size = append(batch, u), size+u.size()
	}
	flush()
	return errors.Join(failed...)
}

func (t *Table) send(units []unit) []error {
	if len(units) == 0 {
		return nil
	}
	err := t.transact(units)
	if errors.Is(err, unix.ENOENT) {
		// Somebody has flushed the node's rules.
		if err = t.rebuild(); err == nil {
			err = t.transact(units)
		}
	}
	if err == nil {
		return nil
	}
	if len(units) == 1 {
		return []error{fmt.Errorf("protecting %s: %w", units[0].addr, err)}
	}
	var failed []error
	for _, u := range units {
		failed = append(failed, t.send([]unit{u})...)
	}
	return failed
}

func (t *Table) transact(units []unit) error {
	err := t.link.Do(func(c *nftables.Conn) error {
		for _, u := range units {
			if err := t.stage(c, u); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, u := range units {
		for _, e := range u.add {
			t.have[e] = struct{}{}
		}
		for _, e := range u.del {
			delete(t.have, e)
		}
	}
	return nil
}

// stage adds a unit to a transaction. An element may have timed out, or be about to: adding it, deleting it and adding
// it again works in either case and on every kernel, and packets see only the outcome.
func (t *Table) stage(c *nftables.Conn, u unit) error {
	for _, f := range families {
		for k := range kinds {
			s := t.set(k, f)
			match := func(e element) bool { return e.kind != k || e.addr.Is6() != f.v6 }
			add := setElements(slices.DeleteFunc(slices.Clone(u.add), match), t.opts.Timeout)
			del := setElements(slices.DeleteFunc(slices.Clone(u.del), match), t.opts.Timeout)
			for chunk := range slices.Chunk(slices.Concat(add, del), batchElements) {
				if err := errors.Join(c.SetAddElements(s, chunk), c.SetDeleteElements(s, chunk)); err != nil {
					return err
				}
			}
			for chunk := range slices.Chunk(add, batchElements) {
				if err := c.SetAddElements(s, chunk); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Addrs lists the VIPs that the kernel protects, as far as we know.
func (t *Table) Addrs() []netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []netip.Addr
	for e := range t.have {
		if e.kind == vips {
			list = append(list, e.addr)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

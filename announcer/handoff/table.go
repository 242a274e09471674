package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/nft"
)

// ErrUnsupported says that the kernel has no nf_tables, or can't duplicate packets. VIPs move all the same, and their connections
// are reset then.
var ErrUnsupported = nft.ErrUnsupported

const (
	// DefaultName of the tables, one of each family.
	DefaultName = "evenkeel-handoff"
	// DefaultTimeout is longer than an address lives on after an announcer's orderly end (90 s).
	DefaultTimeout = 110 * time.Second
	// maxVIPs and maxFlows bound what packets can have the kernel remember.
	maxVIPs, maxFlows = 16384, 65536
	// chunk is how many elements one message has.
	chunk = 200
)

// Options configure a Table.
type Options struct {
	// Name of the nftables tables; DefaultName if empty.
	Name string
	// Timeout of elements; DefaultTimeout if zero. They have to be renewed several times within it.
	Timeout time.Duration
	// Idle is Limits.Idle; DefaultIdle if zero.
	Idle time.Duration
	// NetNS is the file descriptor of a network namespace, 0 for the caller's.
	NetNS int
}

// Table is what the kernel holds. Its methods may be called concurrently.
type Table struct {
	opts Options

	mu sync.Mutex
	// families that the kernel has; a kernel without IPv6 has one.
	families []family
	// have is what the kernel holds, as far as we know.
	have State
}

// New returns a Table that nothing has been done about yet.
func New(opts Options) (*Table, error) {
	opts.Name = cmp.Or(opts.Name, DefaultName)
	opts.Timeout, opts.Idle = cmp.Or(opts.Timeout, DefaultTimeout), cmp.Or(opts.Idle, DefaultIdle)
	if opts.Timeout < time.Second || opts.Idle < time.Second {
		return nil, fmt.Errorf("checking options: timeout %s or idle time %s is below a second", opts.Timeout, opts.Idle)
	}
	return &Table{opts: opts}, nil
}

// memory is how long the kernel remembers a packet: not longer than what we put there ourselves, should the announcer never come back.
// What is to be remembered for longer, entries do.
func (t *Table) memory() time.Duration { return min(t.opts.Idle, t.opts.Timeout) }

func (t *Table) table(f family) *nftables.Table {
	return &nftables.Table{Name: t.opts.Name, Family: f.table}
}

// boot is the clock since boot, by which elements remember when they began: it doesn't jump, and goes on while the machine sleeps.
func (t *Table) boot() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0 // never, with a clock that exists
	}
	return time.Duration(now.Nano())
}

// Open makes the tables, or takes over those of a process before together with what they hold, which it returns: what was handed
// on is handed on without a gap. It fails with ErrUnsupported where the kernel can't do it for any family.
func (t *Table) Open(ctx context.Context) (State, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var refused []error
	t.families = nil
	for _, f := range families {
		if err := t.open(f); err != nil {
			refused = append(refused, fmt.Errorf("opening table %s for %s: %w", t.opts.Name, f.module, err))
			continue
		}
		t.families = append(t.families, f)
	}
	if len(t.families) == 0 {
		return State{}, errors.Join(refused...)
	}
	for _, err := range refused {
		klog.FromContext(ctx).Info("Connections to VIPs of one family are not handed on", "err", err)
	}
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return State{}, err
	}
	t.have = State{}
	for _, f := range t.families {
		for k := range kinds {
			if !k.ours() {
				continue
			}
			list, err := c.GetSetElements(t.set(k, f))
			if err != nil {
				return State{}, fmt.Errorf("reading set %s: %w", kindNames[k], err)
			}
			t.parse(k, f, list, &t.have)
		}
	}
	t.have.Peers = dedupe(t.have.Peers, MAC.Compare)
	slices.SortFunc(t.have.Guards, Guard.compare)
	slices.SortFunc(t.have.Entries, Entry.compare)
	return t.have, nil
}

func dedupe[E comparable](list []E, compare func(a, b E) int) []E {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

func (t *Table) open(f family) error {
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return nft.Unsupported(err)
	}
	// Alone, so that a kernel without nf_tables says so before a transaction of many answers is waited for.
	c.AddTable(t.table(f))
	if err := c.Flush(); err != nil {
		return nft.Unsupported(err)
	}
	err = nft.Unsupported(t.rebuild(f))
	if errors.Is(err, ErrUnsupported) {
		c.DelTable(t.table(f)) // what can't be filled shouldn't be left lying about
		return errors.Join(err, c.Flush())
	}
	return err
}

// rebuild makes sure of a family's structure. One that another version left is replaced, elements included. The caller holds mu.
func (t *Table) rebuild(f family) error {
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return err
	}
	if err := t.build(c, f, true); err != nil {
		return err
	}
	first := c.Flush()
	if !foreign(first) {
		return first
	}
	c.AddTable(t.table(f))
	c.DelTable(t.table(f))
	if err := t.build(c, f, true); err != nil {
		return err
	}
	if err := t.stage(c, f, State{}, t.have); err != nil {
		return err
	}
	if err := c.Flush(); err != nil {
		return errors.Join(first, err)
	}
	return nil
}

// foreign says whether the kernel refused a structure because another one is there.
func foreign(err error) bool {
	return slices.ContainsFunc([]error{unix.EEXIST, unix.EINVAL, unix.EBUSY, unix.EOPNOTSUPP}, func(e error) bool { return errors.Is(err, e) })
}

// Set makes the kernel hold exactly this state, in one transaction. An error leaves what was there.
func (t *Table) Set(_ context.Context, s State) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("handing on: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.transact(t.have, s)
	if errors.Is(err, unix.ENOENT) { // somebody has flushed the node's rules
		if err = t.rebuildAll(); err == nil {
			err = t.replace(s)
		}
	}
	if err != nil {
		return fmt.Errorf("handing on: %w", err)
	}
	t.have = s
	return nil
}

// Renew makes sure of the structure and starts the timeouts of all elements anew. What a reload of the node's firewall has removed
// is there again afterwards.
func (t *Table) Renew(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.rebuildAll(); err != nil {
		return fmt.Errorf("renewing what is handed on: %w", err)
	}
	if err := t.transact(State{}, t.have); err != nil {
		return fmt.Errorf("renewing what is handed on: %w", err)
	}
	return nil
}

func (t *Table) rebuildAll() error {
	for _, f := range t.families {
		if err := t.rebuild(f); err != nil {
			return err
		}
	}
	return nil
}

// Close deletes the tables if they hold nothing. Otherwise they stay for the next process, and their elements time out if none comes.
// Until it opens them nothing is counted, as packets would go on filling what an uninstalled announcer left.
func (t *Table) Close(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.have.Guards)+len(t.have.Peers)+len(t.have.Entries) == 0 {
		return t.remove()
	}
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return fmt.Errorf("leaving table %s: %w", t.opts.Name, err)
	}
	for _, f := range t.families {
		if err := t.build(c, f, false); err != nil {
			return err
		}
		for _, k := range []kind{used, refused, flows} {
			c.FlushSet(t.set(k, f))
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("leaving table %s: %w", t.opts.Name, err)
	}
	return nil
}

// Remove deletes the tables with everything in them.
func (t *Table) Remove(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remove()
}

// remove deletes the tables. The caller holds mu.
func (t *Table) remove() error {
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return fmt.Errorf("removing table %s: %w", t.opts.Name, err)
	}
	for _, f := range t.families {
		c.DelTable(t.table(f))
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing table %s: %w", t.opts.Name, err)
	}
	t.have = State{}
	return nil
}

// transact replaces one state by another. The caller holds mu.
func (t *Table) transact(from, to State) error {
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return err
	}
	for _, f := range t.families {
		if err := t.stage(c, f, from, to); err != nil {
			return err
		}
	}
	return c.Flush()
}

// replace makes the kernel hold a state whatever there is of what it held. The caller holds mu.
func (t *Table) replace(s State) error {
	c, err := nft.Dial(t.opts.NetNS)
	if err != nil {
		return err
	}
	for _, f := range t.families {
		if err := errors.Join(t.stage(c, f, t.have, State{}), t.stage(c, f, State{}, s)); err != nil {
			return err
		}
	}
	return c.Flush()
}

// stage adds a family's difference to a transaction.
func (t *Table) stage(c *nftables.Conn, f family, from, to State) error {
	added, removed := difference(from, to), difference(to, from)
	for k := range kinds {
		if !k.ours() {
			continue
		}
		s := t.set(k, f)
		add, remove := t.elements(k, f, added), t.elements(k, f, removed)
		// An element may have timed out, or be about to: adding it, deleting it and adding it again works in either case, and packets
		// see only the outcome. What is replaced goes before what comes: their keys may be the same.
		for part := range slices.Chunk(remove, chunk) {
			if err := errors.Join(c.SetAddElements(s, part), c.SetDeleteElements(s, part)); err != nil {
				return err
			}
		}
		for part := range slices.Chunk(add, chunk) {
			if err := errors.Join(c.SetAddElements(s, part), c.SetDeleteElements(s, part), c.SetAddElements(s, part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// difference is what to has and from hasn't.
func difference(from, to State) State {
	return State{Guards: lacking(from.Guards, to.Guards), Peers: lacking(from.Peers, to.Peers), Entries: lacking(from.Entries, to.Entries)}
}

func lacking[E comparable](from, to []E) []E {
	have := map[E]struct{}{}
	for _, e := range from {
		have[e] = struct{}{}
	}
	var list []E
	for _, e := range to {
		if _, ok := have[e]; !ok {
			list = append(list, e)
		}
	}
	return list
}

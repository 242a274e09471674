package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"go4.org/netipx"
)

// Pool is what allocation needs to know of a VIPPool.
type Pool struct {
	Name          string
	Created       time.Time
	Addresses     []string
	AutoAssign    bool
	Priority      int32
	AvoidBuggyIPs bool
}

// ProblemKind says what is wrong with an entry.
type ProblemKind int

// Kinds of problems, gravest first.
const (
	Unreadable ProblemKind = iota
	Reversed
	Overlapping
)

// Problem is one entry of a pool that can't be used, or not all of it.
type Problem struct {
	Kind    ProblemKind
	Message string
}

// Table is a set of pools made ready for allocation: every address belongs to at most one pool. It is immutable.
type Table struct {
	pools    map[string]*compiled
	order    []*compiled // automatic assignment: priority, then name
	segments []segment   // by first address; they never overlap
}

type compiled struct {
	Pool
	ranges   []netipx.IPRange // in order of entries
	problems []Problem
}

type segment struct {
	netipx.IPRange
	pool *compiled
}

// owned is an entry's original range, kept to name it when a later entry overlaps it.
type owned struct {
	netipx.IPRange
	pool, entry string
}

// Compile makes a table of pools. Of two pools that overlap the older one keeps the overlap (of two of the same age the one
// whose name comes first), of two entries of one pool the first. What is wrong is told by Problems; the rest works.
func Compile(pools []Pool) *Table {
	t := &Table{pools: make(map[string]*compiled, len(pools))}
	byAge := slices.Clone(pools)
	slices.SortFunc(byAge, func(a, b Pool) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	taken, entries := neverVIPs, []owned(nil)
	for _, pool := range byAge {
		c := &compiled{Pool: pool}
		for _, entry := range pool.Addresses {
			taken, entries = c.add(entry, taken, entries)
		}
		t.pools[pool.Name] = c
		t.order = append(t.order, c)
		for _, r := range c.ranges {
			t.segments = append(t.segments, segment{r, c})
		}
	}
	slices.SortFunc(t.order, func(a, b *compiled) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(t.segments, func(a, b segment) int { return a.From().Compare(b.From()) })
	return t
}

// add gives the pool what is left of an entry and returns what is taken now.
func (c *compiled) add(entry string, taken *netipx.IPSet, entries []owned) (*netipx.IPSet, []owned) {
	r, err := ParseEntry(entry)
	if err != nil {
		kind := Unreadable
		if errors.Is(err, errReversed) {
			kind = Reversed
		}
		c.problems = append(c.problems, Problem{kind, err.Error()})
		return taken, entries
	}
	for _, other := range entries {
		if !other.Overlaps(r) {
			continue
		}
		who := "of the same pool"
		if other.pool != c.Name {
			who = "of the older pool " + other.pool
		}
		c.problems = append(c.problems, Problem{Overlapping, fmt.Sprintf("%s overlaps %s %s, which keeps the addresses that both hold", entry, other.entry, who)})
	}
	var b netipx.IPSetBuilder
	b.AddRange(r)
	b.RemoveSet(taken)
	left, err := b.IPSet()
	if err != nil { // only invalid ranges make it fail, and ParseEntry lets none through
		c.problems = append(c.problems, Problem{Unreadable, fmt.Sprintf("%q: %v", entry, err)})
		return taken, entries
	}
	if neverVIPs.ContainsRange(r) {
		c.problems = append(c.problems, Problem{Unreadable, fmt.Sprintf("%s holds no address that can be announced on a segment", entry)})
	}
	c.ranges = append(c.ranges, left.Ranges()...)
	b.AddSet(taken)
	if all, err := b.IPSet(); err == nil {
		taken = all
	}
	return taken, append(entries, owned{r, c.Name, entry})
}

// Problems lists what is wrong with a pool's entries, in their order.
func (t *Table) Problems(pool string) []Problem {
	if c := t.pools[pool]; c != nil {
		return c.problems
	}
	return nil
}

// Has says whether there is a pool of that name.
func (t *Table) Has(pool string) bool { return t.pools[pool] != nil }

// PoolOf returns the pool that holds an address.
func (t *Table) PoolOf(addr netip.Addr) (string, bool) {
	if c := t.find(addr); c != nil {
		return c.Name, true
	}
	return "", false
}

func (t *Table) find(addr netip.Addr) *compiled {
	i := sort.Search(len(t.segments), func(i int) bool { return addr.Less(t.segments[i].From()) }) - 1
	if i < 0 || !t.segments[i].Contains(addr) {
		return nil
	}
	return t.segments[i].pool
}

// usable says whether the pool hands out the address at all.
func (c *compiled) usable(addr netip.Addr) bool { return !c.AvoidBuggyIPs || !buggy(addr) }

package protect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var (
	vip4 = netip.MustParseAddr("192.0.2.10")
	vip6 = netip.MustParseAddr("2001:db8::10")
)

func TestKeysAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		n := 4
		if v6 {
			n = 16
		}
		addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "addr"))
		e := element{kind: vips, addr: addr}
		if k := kind(rapid.IntRange(0, int(kinds)-1).Draw(t, "kind")); k != vips {
			e = element{k, addr, Proto(rapid.Byte().Draw(t, "proto")), rapid.Uint16().Draw(t, "port")}
		}
		got, ok := parseKey(e.kind, v6, e.key())
		if !ok || got != e {
			t.Fatalf("parseKey() = %v, %v, want %v", got, ok, e)
		}
		if _, ok := parseKey(e.kind, v6, append(e.key(), 0)); ok {
			t.Fatal("a key of another length is accepted")
		}
	})
}

func TestDiffTurnsWhatIsIntoWhatShouldBe(t *testing.T) {
	elements := rapid.Custom(func(t *rapid.T) element {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(rapid.IntRange(1, 4).Draw(t, "addr"))})
		return element{ports, addr, TCP, uint16(rapid.IntRange(1, 4).Draw(t, "port"))}
	})
	toSet := func(list []element) map[element]struct{} {
		m := map[element]struct{}{}
		for _, e := range list {
			m[e] = struct{}{}
		}
		return m
	}
	rapid.Check(t, func(t *rapid.T) {
		want := toSet(rapid.SliceOf(elements).Draw(t, "want"))
		have := toSet(rapid.SliceOf(elements).Draw(t, "have"))
		seen := map[netip.Addr]bool{}
		for _, u := range diff(want, have) {
			if seen[u.addr] {
				t.Fatalf("two units for %s", u.addr)
			}
			seen[u.addr] = true
			for _, e := range u.del {
				delete(have, e)
			}
			for _, e := range u.add {
				have[e] = struct{}{}
			}
		}
		if fmt.Sprint(have) != fmt.Sprint(want) {
			t.Fatalf("got %v, want %v", have, want)
		}
	})
}

// open makes a Table in the tests' namespace; it is removed after the test.
func open(t testing.TB, opts Options) *Table {
	t.Helper()
	nstest.Require(t)
	table, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		table.link.Close()
		removeTable(t, table.opts.Name)
	})
	return table
}

func set(t testing.TB, table *Table, entries ...Entry) {
	t.Helper()
	if err := table.Set(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
}

// kernelElements reads all sets anew.
func kernelElements(t testing.TB, table *Table) []nftables.SetElement {
	t.Helper()
	c := &nftables.Conn{NetNS: table.opts.NetNS}
	var all []nftables.SetElement
	for _, f := range families {
		for k := range kinds {
			list, err := c.GetSetElements(table.set(k, f))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, list...)
		}
	}
	return all
}

func removeTable(t testing.TB, name string) {
	t.Helper()
	c := &nftables.Conn{}
	c.DelTable(&nftables.Table{Name: name, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}

func exists(t testing.TB, name string) bool {
	t.Helper()
	tables, err := (&nftables.Conn{}).ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(tables, func(table *nftables.Table) bool { return table.Name == name })
}

func webEntries() []Entry {
	return []Entry{
		{Addr: vip4, Ports: []Port{{TCP, 80}, {UDP, 53}}},
		{Addr: vip6, Ports: []Port{{TCP, 80}}, Local: true},
	}
}

// webElements is the number of elements of webEntries: two addresses, three ports and one of them local.
const webElements = 6

func TestElementsTimeOutWithoutRenewals(t *testing.T) {
	table := open(t, Options{Timeout: time.Second})
	set(t, table, webEntries()...)
	nstest.Eventually(t, "an empty table", func() bool { return len(kernelElements(t, table)) == 0 })
	if !exists(t, DefaultTable) {
		t.Error("the table went with its elements")
	}
	// What the kernel has dropped can be renewed and removed all the same.
	if err := table.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	set(t, table)
}

func TestARenewalStartsTheTimeoutsAnew(t *testing.T) {
	table := open(t, Options{Timeout: time.Hour})
	set(t, table, webEntries()...)
	least := func() time.Duration {
		m := time.Hour
		list := kernelElements(t, table)
		if len(list) != webElements {
			t.Fatalf("%d elements, want %d", len(list), webElements)
		}
		for _, e := range list {
			m = min(m, e.Expires)
		}
		return m
	}
	var aged time.Duration
	nstest.Eventually(t, "some age", func() bool { aged = least(); return aged < time.Hour-100*time.Millisecond })
	if err := table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := least(); got <= aged {
		t.Errorf("%s left after a renewal, %s before", got, aged)
	}
}

func TestTheNextProcessKeepsTheElements(t *testing.T) {
	first := open(t, Options{})
	set(t, first, webEntries()...)
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := open(t, Options{})
	if got := len(kernelElements(t, second)); got != webElements {
		t.Fatalf("%d elements after a restart, want %d", got, webElements)
	}
	if got := second.Addrs(); !slices.Equal(got, []netip.Addr{vip4, vip6}) {
		t.Errorf("Addrs() = %v", got)
	}
	set(t, second, webEntries()[0])
	if got := len(kernelElements(t, second)); got != 3 {
		t.Errorf("%d elements after one VIP left, want 3", got)
	}
	set(t, second)
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(t, DefaultTable) {
		t.Error("an empty table is left")
	}
	if err := second.Remove(t.Context()); err != nil {
		t.Error("removing what is gone:", err)
	}
}

func TestAReloadOfTheNodesFirewallIsRepaired(t *testing.T) {
	for _, tt := range []struct {
		name   string
		repair func(*Table) error
		want   int
	}{
		{"by a renewal", func(table *Table) error { return table.Renew(t.Context()) }, webElements},
		{"by a change, at least in part", func(table *Table) error {
			return table.Set(t.Context(), append(webEntries(), Entry{Addr: netip.MustParseAddr("192.0.2.11")}))
		}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := open(t, Options{})
			set(t, table, webEntries()...)
			removeTable(t, DefaultTable)
			if err := tt.repair(table); err != nil {
				t.Fatal(err)
			}
			if got := len(kernelElements(t, table)); got != tt.want {
				t.Errorf("%d elements, want %d", got, tt.want)
			}
		})
	}
}

func TestATableOfAnotherVersionIsReplaced(t *testing.T) {
	nstest.Require(t)
	c := &nftables.Conn{}
	old := c.AddTable(&nftables.Table{Name: DefaultTable, Family: nftables.TableFamilyINet})
	c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: old, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	if err := c.AddSet(&nftables.Set{Table: old, Name: "vips4", KeyType: nftables.TypeInetService}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	table := open(t, Options{})
	set(t, table, webEntries()...)
	if got := len(kernelElements(t, table)); got != webElements {
		t.Errorf("%d elements, want %d", got, webElements)
	}
}

func TestOneBadAddressKeepsNobodyOut(t *testing.T) {
	table := open(t, Options{})
	err := table.Set(t.Context(), append(webEntries(), Entry{Ports: []Port{{TCP, 1}}}))
	if err == nil {
		t.Error("an entry without an address is accepted")
	}
	if got := len(kernelElements(t, table)); got != webElements {
		t.Errorf("%d elements, want %d", got, webElements)
	}
}

func TestManyVIPsNeedNoMoreRules(t *testing.T) {
	table := open(t, Options{})
	rules := func() int {
		c := &nftables.Conn{}
		n := 0
		for _, name := range []string{"prerouting", "prerouting4", "prerouting6", "input", "input4", "input6"} {
			list, err := c.GetRules(table.table, &nftables.Chain{Name: name, Table: table.table})
			if err != nil {
				t.Fatal(err)
			}
			n += len(list)
		}
		return n
	}
	before := rules()
	var entries []Entry
	addr := netip.MustParseAddr("198.18.0.1")
	for range 1000 {
		entries = append(entries, Entry{Addr: addr, Ports: []Port{{TCP, 80}, {TCP, 443}}})
		addr = addr.Next()
	}
	set(t, table, entries...)
	if err := table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(kernelElements(t, table)); got != 3000 {
		t.Errorf("%d elements, want 3000", got)
	}
	if got := rules(); got != before || got != 20 {
		t.Errorf("%d rules, %d before", got, before)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(Options{Timeout: time.Millisecond}); err == nil {
		t.Error("a timeout of a millisecond is accepted")
	}
	for _, s := range []string{"TCP", "UDP", "SCTP"} {
		if _, err := ParseProto(s); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseProto("tcp"); err == nil {
		t.Error("a protocol that no Service port has is accepted")
	}
}

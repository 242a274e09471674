package traffic

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

var (
	vip4 = netip.MustParseAddr("192.0.2.10")
	vip6 = netip.MustParseAddr("2001:db8::10")
)

func TestElementsTimeOutWithoutRenewals(t *testing.T) {
	table := newTable(t, TableOptions{Timeout: time.Second})
	if err := table.Set(t.Context(), []netip.Addr{vip4, vip6}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, table); len(got) != 2 {
		t.Fatalf("read %v, want two VIPs", got)
	}
	nstest.Eventually(t, "an empty table", func() bool { return len(read(t, table)) == 0 })
	if err := table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, table); len(got) != 2 {
		t.Errorf("read %v after a renewal, want two VIPs", got)
	}
	if err := table.Set(t.Context(), []netip.Addr{vip6}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, table); len(got) != 1 {
		t.Errorf("read %v, want one VIP", got)
	}
}

func TestARenewalStartsTheTimeoutsAnew(t *testing.T) {
	table := newTable(t, TableOptions{Timeout: 2 * time.Second})
	if err := table.Set(t.Context(), []netip.Addr{vip4}); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		time.Sleep(500 * time.Millisecond)
		if err := table.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, table); len(got) != 1 {
		t.Errorf("read %v after 3 s of renewals, want one VIP", got)
	}
}

func TestAReloadOfTheNodesFirewallIsRepaired(t *testing.T) {
	for name, repair := range map[string]func(*Table) error{
		"by a renewal": func(table *Table) error { return table.Renew(t.Context()) },
		"by a change":  func(table *Table) error { return table.Set(t.Context(), []netip.Addr{vip6}) },
	} {
		t.Run(name, func(t *testing.T) {
			table := newTable(t, TableOptions{})
			if err := table.Set(t.Context(), []netip.Addr{vip4}); err != nil {
				t.Fatal(err)
			}
			c := &nftables.Conn{}
			c.DelTable(table.table)
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			if _, err := table.Read(t.Context()); err == nil {
				t.Error("a table that is gone can be read")
			}
			if err := repair(table); err != nil {
				t.Fatal(err)
			}
			if got := read(t, table); len(got) != 1 {
				t.Errorf("read %v, want one VIP", got)
			}
		})
	}
}

// TestTheNextProcessBeginsAnew: also after one of another version, whose sets are of another make.
func TestTheNextProcessBeginsAnew(t *testing.T) {
	first := newTable(t, TableOptions{})
	if err := first.Set(t.Context(), []netip.Addr{vip4}); err != nil {
		t.Fatal(err)
	}
	second := newTable(t, TableOptions{})
	if got := read(t, second); len(got) != 0 {
		t.Errorf("read %v, want nothing", got)
	}
	c := &nftables.Conn{}
	c.DelTable(second.table)
	c.AddTable(second.table)
	if err := c.AddSet(&nftables.Set{Table: second.table, Name: "in4", KeyType: nftables.TypeInetService}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	third := newTable(t, TableOptions{})
	if err := third.Set(t.Context(), []netip.Addr{vip4, vip6}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, third); len(got) != 2 {
		t.Errorf("read %v, want two VIPs", got)
	}
	if err := third.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table.Name == DefaultName {
			t.Error("the table outlives its owner")
		}
	}
}

func TestThousandsOfVIPsFit(t *testing.T) {
	table := newTable(t, TableOptions{})
	var addrs []netip.Addr
	for i := range 2000 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	if err := table.Set(t.Context(), addrs); err != nil {
		t.Fatal(err)
	}
	if err := table.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A set that has just grown is being rearranged, and some elements are not seen meanwhile.
	nstest.Eventually(t, "all of them to be read", func() bool { return len(read(t, table)) == len(addrs) })
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := NewTable(TableOptions{Timeout: time.Millisecond}); err == nil {
		t.Error("a timeout of a millisecond is accepted")
	}
}

package nft

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

var table = &nftables.Table{Name: "link", Family: nftables.TableFamilyINet}

// open makes a Link in the tests' namespace and counts the sockets that it opens. Its table is removed after the test.
func open(t *testing.T) (link *Link, sockets *int) {
	t.Helper()
	nstest.Require(t)
	link, sockets = NewLink(0), new(int)
	dial := link.dial
	link.dial = func() (*nftables.Conn, *netlink.Conn, error) {
		*sockets++
		return dial()
	}
	t.Cleanup(func() {
		if err := link.Do(func(c *nftables.Conn) error { c.AddTable(table); c.DelTable(table); return nil }); err != nil {
			t.Error(err)
		}
		link.Close()
	})
	return link, sockets
}

// chains adds a chain with two rules, which the kernel echoes, and reads how many chains there are then.
func chains(link *Link, name string) (n int, err error) {
	err = link.Do(func(c *nftables.Conn) error {
		chain := c.AddChain(&nftables.Chain{Name: name, Table: c.AddTable(table)})
		for range 2 {
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}}})
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	err = link.Do(func(c *nftables.Conn) error {
		list, err := c.ListChainsOfTableFamily(table.Family)
		n = len(list)
		return err
	})
	return n, err
}

func expectChains(t *testing.T, link *Link, want int) {
	t.Helper()
	if n, err := chains(link, fmt.Sprint("chain", want)); err != nil || n != want {
		t.Fatalf("%d chains, %v; want %d", n, err, want)
	}
}

func TestOneSocketServesManyTransactions(t *testing.T) {
	link, sockets := open(t)
	for i := range 100 {
		expectChains(t, link, i+1)
	}
	if *sockets != 1 {
		t.Errorf("%d sockets for 100 transactions and as many reads, want 1", *sockets)
	}
}

func TestATransactionOutlivesItsSocket(t *testing.T) {
	link, sockets := open(t)
	expectChains(t, link, 1)
	if err := link.sock.Close(); err != nil {
		t.Fatal(err)
	}
	expectChains(t, link, 2)
	link.Close()
	link.Close()
	expectChains(t, link, 3)
	if *sockets != 3 {
		t.Errorf("%d sockets, want 3: one was closed under the link, another by it", *sockets)
	}
}

func TestADeadlineIsThatOfOneTransaction(t *testing.T) {
	link, sockets := open(t)
	link.timeout = 200 * time.Millisecond
	expectChains(t, link, 1)
	time.Sleep(2 * link.timeout) // the deadline of what is done already
	expectChains(t, link, 2)
	if *sockets != 1 {
		t.Errorf("%d sockets, want 1: nothing was late", *sockets)
	}
	link.timeout = -time.Second
	if _, err := chains(link, "late"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a deadline that had passed: %v", err)
	}
	link.timeout = replyTimeout
	expectChains(t, link, 3)
	if *sockets != 2 {
		t.Errorf("%d sockets, want 2: none is used after a deadline", *sockets)
	}
}

func TestAnAnswerThatNobodyWaitedForIsNotTheNextOnes(t *testing.T) {
	link, sockets := open(t)
	expectChains(t, link, 1)
	// A question whose answers nobody reads.
	_, err := link.sock.Send(netlink.Message{
		Header: netlink.Header{Type: 10<<8 | 1, Flags: netlink.Request | netlink.Dump}, // nf_tables, get tables
		Data:   []byte{1, 0, 0, 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	expectChains(t, link, 2)
	if *sockets != 2 {
		t.Errorf("%d sockets, want 2", *sockets)
	}
}

func TestNothingIsLeftOfWhatFailed(t *testing.T) {
	link, _ := open(t)
	expectChains(t, link, 1)
	broken := errors.New("broken")
	err := link.Do(func(c *nftables.Conn) error {
		c.DelTable(table)
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	expectChains(t, link, 2)
	// What the kernel refuses, in the middle of others.
	err = link.Do(func(c *nftables.Conn) error {
		for _, name := range []string{"a", "b", "c"} {
			c.AddChain(&nftables.Chain{Name: name, Table: &nftables.Table{Name: "nowhere", Family: table.Family}})
		}
		return nil
	})
	if err == nil {
		t.Fatal("a chain of a table that isn't there is accepted")
	}
	expectChains(t, link, 3)
}

func TestManyMayUseALinkAtOnce(t *testing.T) {
	link, sockets := open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if _, err := chains(link, fmt.Sprintf("chain%d-%d", i, j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	expectChains(t, link, 161)
	if *sockets != 1 {
		t.Errorf("%d sockets, want 1", *sockets)
	}
}

package guard

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"evenkeel.io/evenkeel/announcer/protect"
)

// table is a Table that hands each wish to the test and answers what the test says.
type table struct {
	wishes  chan []protect.Entry
	answers chan error
	renewed chan struct{}
}

func newTable() *table {
	return &table{wishes: make(chan []protect.Entry), answers: make(chan error), renewed: make(chan struct{}, 1)}
}

func (t *table) Set(_ context.Context, entries []protect.Entry) error {
	t.wishes <- entries
	return <-t.answers
}

func (t *table) Renew(context.Context) error {
	select {
	case t.renewed <- struct{}{}:
	default:
	}
	return nil
}

func start(t *testing.T, table Table, every time.Duration, notify func(error)) *Guard {
	g := New(table, every, notify)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

func entries(addrs ...string) []protect.Entry {
	var out []protect.Entry
	for _, a := range addrs {
		out = append(out, protect.Entry{Addr: netip.MustParseAddr(a)})
	}
	return out
}

func TestOnlyTheNewestWishIsAppliedAndAllWhoWaitAreTold(t *testing.T) {
	table := newTable()
	g := start(t, table, time.Hour, func(error) {})
	first, second, third := make(chan struct{}), make(chan struct{}), make(chan struct{})
	g.Set(entries("192.0.2.10"), func() { close(first) })
	<-table.wishes // the kernel is busy with the first wish
	g.Set(entries("192.0.2.10", "192.0.2.11"), func() { close(second) })
	g.Set(entries("192.0.2.10", "192.0.2.11", "192.0.2.12"), func() { close(third) })
	select {
	case <-first:
		t.Fatal("told before the kernel had answered")
	default:
	}
	table.answers <- nil
	<-first
	if got := <-table.wishes; len(got) != 3 {
		t.Errorf("%d entries are applied, want the newest 3 at once", len(got))
	}
	table.answers <- nil
	<-second
	<-third
}

func TestAFailureIsToldAndHoldsNobodyUp(t *testing.T) {
	table := newTable()
	told := make(chan error, 1)
	g := start(t, table, time.Hour, func(err error) { told <- err })
	done := make(chan struct{})
	g.Set(entries("192.0.2.10"), func() { close(done) })
	<-table.wishes
	refused := errors.New("operation not permitted")
	table.answers <- refused
	<-done
	if err := <-told; !errors.Is(err, refused) {
		t.Errorf("told %v, want %v", err, refused)
	}
}

func TestElementsAreRenewed(t *testing.T) {
	table := newTable()
	start(t, table, time.Millisecond, func(error) {})
	<-table.renewed
}

func TestWithoutATableNobodyWaits(t *testing.T) {
	g := start(t, nil, 0, nil)
	done := make(chan struct{})
	g.Set(entries("192.0.2.10"), func() { close(done) })
	<-done
}

package rtnl

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/announcer/address/nstest"
)

func TestMain(m *testing.M) { nstest.Main(m) }

func example(index int) Address {
	return Address{
		Index: index, Prefix: netip.MustParsePrefix("192.0.2.10/32"),
		Flags: unix.IFA_F_NOPREFIXROUTE, Proto: 0x45, Valid: 60,
	}
}

func TestAddressesAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := 4
		if rapid.Bool().Draw(t, "v6") {
			n = 16
		}
		addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "addr"))
		want := Address{
			Index:     int(rapid.Int32Range(1, 1<<30).Draw(t, "index")),
			Prefix:    netip.PrefixFrom(addr, rapid.IntRange(0, 8*n).Draw(t, "bits")),
			Scope:     rapid.Byte().Draw(t, "scope"),
			Flags:     rapid.Uint32().Draw(t, "flags"),
			Proto:     rapid.Byte().Draw(t, "proto"),
			Valid:     rapid.Uint32().Draw(t, "valid"),
			Preferred: rapid.Uint32().Draw(t, "preferred"),
		}
		data, err := want.marshal(true)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseAddress(data)
		if err != nil || got != want {
			t.Fatalf("ParseAddress() = %+v, %v, want %+v", got, err, want)
		}
	})
}

func TestABatchTellsEachRequestsResult(t *testing.T) {
	p := nstest.NewPair(t, "nic0")
	conn, err := Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	a := example(p.Index())
	other, nowhere := a, a
	other.Prefix = netip.MustParsePrefix("2001:db8::10/128")
	nowhere.Index = 9999
	errs, err := conn.Apply([]Request{{Create, a}, {Create, a}, {Replace, a}, {Create, nowhere}, {Delete, other}, {Create, other}, {Delete, other}})
	if err != nil {
		t.Fatal(err)
	}
	want := []error{nil, unix.EEXIST, nil, unix.ENODEV, unix.EADDRNOTAVAIL, nil, nil}
	if !slices.EqualFunc(errs, want, errors.Is) {
		t.Errorf("Apply() = %v, want %v", errs, want)
	}
	list, err := conn.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(x Address) bool { return x.Index == p.Index() && x.Prefix == a.Prefix })
	if i < 0 || list[i].Proto != 0x45 || list[i].Valid == 0 || list[i].Valid > 60 || list[i].Preferred != 0 {
		t.Errorf("listed as %+v", list)
	}
	if _, err := conn.Apply(make([]Request, BatchSize+1)); err == nil {
		t.Error("more than a batch is accepted")
	}
	if errs, err := conn.Apply(nil); err != nil || len(errs) != 0 {
		t.Errorf("nothing to do: %v, %v", errs, err)
	}
}

func TestTheConnectionSurvivesALostSocket(t *testing.T) {
	p := nstest.NewPair(t, "nic0")
	conn, err := Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.nl.Close()
	if _, err := conn.Apply([]Request{{Create, example(p.Index())}}); err == nil {
		t.Fatal("a closed socket sends")
	}
	if errs, err := conn.Apply([]Request{{Create, example(p.Index())}}); err != nil || errs[0] != nil {
		t.Errorf("after that: %v, %v", errs, err)
	}
}

func TestTheMonitorTellsOfChangesAndEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	nstest.Require(t)
	m, err := NewMonitor(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	p := nstest.NewPair(t, "nic0")
	p.AddAddr(t, "192.0.2.1/24")
	p.DelAddr(t, "192.0.2.1/24")
	link, added, removed := false, false, false
	for !link || !added || !removed {
		events, err := m.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			link = link || e.Link != nil && e.Link.Name == "nic0" && !e.Removed
			if e.Address != nil && e.Address.Index == p.Index() && e.Address.Addr().Is4() {
				added, removed = added || !e.Removed, removed || e.Removed
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		// What has been received before may still be told.
		if _, err := m.Read(ctx); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Read() = %v, want the context's error", err)
			}
			break
		}
	}
}

func TestLostNotificationsAreTold(t *testing.T) {
	p := nstest.NewPair(t, "nic0")
	m, err := NewMonitor(0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if err := m.nl.SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		p.AddAddr(t, "192.0.2.1/24")
		p.DelAddr(t, "192.0.2.1/24")
	}
	for {
		if _, err := m.Read(t.Context()); errors.Is(err, ErrOverrun) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, p := range []string{"192.0.2.10/32", "2001:db8::1/64"} {
		a := example(3)
		a.Prefix = netip.MustParsePrefix(p)
		data, err := a.marshal(true)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(bytes.Repeat([]byte{2}, 40))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := ParseAddress(data); err == nil && !a.Prefix.IsValid() {
			t.Errorf("an address without address: %+v", a)
		}
		if l, ok, err := parseLink(data); (err != nil || !ok) && l.Carrier {
			t.Errorf("a refused link has a carrier: %+v", l)
		}
	})
}

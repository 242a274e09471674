package traffic

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"evenkeel.io/evenkeel/announcer/nic"
)

// counter is a kernel in which each address carries 10 packets of 100 bytes a second.
type counter struct {
	clock    *clocktesting.FakeClock
	since    map[netip.Addr]time.Time
	renewals int
	broken   error
}

func (c *counter) Set(_ context.Context, addrs []netip.Addr) error {
	if c.broken != nil {
		return c.broken
	}
	before := c.since
	c.since = map[netip.Addr]time.Time{}
	for _, addr := range addrs {
		c.since[addr] = c.clock.Now()
		if was, ok := before[addr]; ok {
			c.since[addr] = was
		}
	}
	return nil
}

func (c *counter) Renew(context.Context) error {
	if c.broken == nil {
		c.renewals++
		for addr := range c.since {
			c.since[addr] = c.clock.Now()
		}
	}
	return c.broken
}

func (c *counter) Read(context.Context) (map[netip.Addr]Counts, error) {
	counts := map[netip.Addr]Counts{}
	for addr, since := range c.since {
		n := uint64(10 * c.clock.Since(since).Seconds())
		counts[addr] = Counts{Bytes: 100 * n, Packets: n}
	}
	return counts, c.broken
}

func TestTrafficIsMeasured(t *testing.T) {
	kernel := &counter{clock: clocktesting.NewFakeClock(start)}
	var told []error
	tr := New(Options{
		Counter: kernel, RenewEvery: 30 * time.Second, Clock: kernel.clock,
		NICs:   func() []nic.NIC { return []nic.NIC{{Name: "eth0"}} },
		Links:  func(nics []nic.NIC) ([]Link, error) { return []Link{{Name: nics[0].Name}}, errors.New("half of it") },
		CPU:    func() (CPU, error) { return CPU{}, errors.New("unreadable") },
		Notify: func(err error) { told = append(told, err) },
	})
	if _, ok := tr.Status(); ok {
		t.Error("something is measured before the first reading")
	}
	samples := func(n int) {
		for range n {
			kernel.clock.Step(sampleEvery)
			tr.sample(t.Context())
		}
	}
	tr.renewed = kernel.clock.Now()
	tr.Set([]VIP{{vip4, "a"}, {vip6, "b"}})
	tr.apply(t.Context())
	samples(24)
	status, ok := tr.Status()
	if !ok || status.BytesPerSecond != 2000 || status.PacketsPerSecond != 20 || len(status.VIPs) != 2 || len(status.Interfaces) != 1 {
		t.Errorf("measured %+v, %t; want 2000 bytes and 20 packets a second of two VIPs", status, ok)
	}
	if got := tr.Totals(); got.Packets != 2400 {
		t.Errorf("%d packets in two minutes, want 2400", got.Packets)
	}
	if kernel.renewals != 4 {
		t.Errorf("%d renewals in two minutes, want 4", kernel.renewals)
	}

	// The kernel fails for a while, in which a VIP leaves.
	told, kernel.broken = nil, errors.New("broken")
	tr.Set([]VIP{{vip4, "a"}})
	tr.apply(t.Context())
	samples(3)
	if slices.Contains(told, nil) {
		t.Errorf("told %v, want errors", told)
	}
	told, kernel.broken = nil, nil
	samples(2)
	if status, _ := tr.Status(); len(status.VIPs) != 1 || status.PacketsPerSecond != 10 || len(kernel.since) != 1 || told[len(told)-1] != nil {
		t.Errorf("after a failure %+v is measured, and %d VIPs are counted, told %v; want one of 10 packets a second", status, len(kernel.since), told)
	}

	tr.Set(nil)
	tr.apply(t.Context())
	renewals := kernel.renewals
	samples(10)
	if status, _ := tr.Status(); len(status.VIPs) != 0 || status.PacketsPerSecond != 0 || kernel.renewals != renewals {
		t.Errorf("measured %+v without a VIP, %d renewals", status, kernel.renewals-renewals)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	kernel := &counter{clock: clocktesting.NewFakeClock(start)}
	tr := New(Options{
		Counter: kernel, RenewEvery: time.Minute, Clock: kernel.clock, NICs: func() []nic.NIC { return nil }, Notify: func(error) {},
		Links: ReadLinks, CPU: func() (CPU, error) { return ReadCPU("/") },
	})
	for _, tr := range []*Traffic{tr, nil} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- tr.Run(ctx) }()
		tr.Set([]VIP{{vip4, "a"}})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

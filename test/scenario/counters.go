package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/test/lab"
)

// CountersPair is one pair of measurements, right after each other: with a VIP's traffic counted (package traffic), and without the table.
type CountersPair struct {
	// Figure says what was measured.
	Figure   string  `json:"figure"`
	OffFirst bool    `json:"offFirst"`
	On       float64 `json:"on"`
	Off      float64 `json:"off"`
	Ratio    float64 `json:"ratio"`
}

// Figures of a CountersPair.
const (
	CountersPackets = "packets of established connections a second"
	CountersBytes   = "megabytes a second from backend to client, on one connection"
)

// CountersOptions say how pairs are measured.
type CountersOptions struct {
	// Pairs of each figure.
	Pairs int
	// Half is how long each half of a pair of packet rates is measured.
	Half time.Duration
	// Bytes of each half of a pair of transfers.
	Bytes int64
	// VIPs that are counted, the measured one among them.
	VIPs int
}

// Counters measures what a VIP of the first node carries while it is counted and while it isn't. The cluster runs without our components:
// the table is this process'. The halves of a pair change their order from pair to pair, so that whatever drifts meets both alike. observe
// gets each pair.
func Counters(ctx context.Context, c *lab.Cluster, o CountersOptions, observe func(CountersPair)) (err error) {
	r, err := startRate(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	counted, err := newCountersTable(r.node, r.vip, o.VIPs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, counted.off(ctx)) }()
	err = counted.pairs(ctx, o.Pairs, CountersPackets, observe, func() (float64, error) { return r.perSecond(ctx, o.Half) })
	if err != nil {
		return err
	}
	err, r.flood = r.flood.Stop(), nil
	if err != nil {
		return err
	}
	t, err := openTransfers(ctx, c.Client, r.node, r.vip, ToClient)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.conn.Close()) }()
	return counted.pairs(ctx, o.Pairs, CountersBytes, observe, func() (float64, error) {
		result, err := t.transfer(ctx, lab.Payload(o.Bytes), nil)
		if err == nil && (result.Failure != "" || !result.Right) {
			err = fmt.Errorf("transferring %d bytes through %s: %s; checksum right: %t", o.Bytes, r.vip, result.Failure, result.Right)
		}
		return result.MBPerSecond, err
	})
}

// countersTable counts on a node on which no announcer runs.
type countersTable struct {
	node  *lab.Node
	vip   netip.Addr
	vips  []netip.Addr
	table *traffic.Table
	open  bool
}

func newCountersTable(node *lab.Node, vip netip.Addr, vips int) (*countersTable, error) {
	// Nobody renews the elements.
	table, err := traffic.NewTable(traffic.TableOptions{Timeout: 24 * time.Hour})
	c := &countersTable{node: node, vip: vip, vips: []netip.Addr{vip}, table: table}
	unused := netip.MustParseAddr("198.18.0.0") // of a subnet for benchmarks (RFC 2544)
	for len(c.vips) < vips {
		unused = unused.Next()
		c.vips = append(c.vips, unused)
	}
	return c, err
}

// on begins to count.
func (c *countersTable) on(ctx context.Context) error {
	return c.node.Do(func() error {
		if err := c.table.Open(ctx); err != nil {
			return err
		}
		c.open = true
		return c.table.Set(ctx, c.vips)
	})
}

// off removes the table.
func (c *countersTable) off(ctx context.Context) error {
	if !c.open {
		return nil
	}
	c.open = false
	return c.node.Do(func() error { return c.table.Close(ctx) })
}

// proveCounting makes sure that what was measured was counted.
func (c *countersTable) proveCounting(ctx context.Context) error {
	return c.node.Do(func() error {
		counts, err := c.table.Read(ctx)
		if err == nil && counts[c.vip].Packets == 0 {
			err = fmt.Errorf("nothing was counted of %s", c.vip)
		}
		return err
	})
}

func (c *countersTable) pairs(ctx context.Context, n int, figure string, observe func(CountersPair), measure func() (float64, error)) error {
	for i := range n {
		p := CountersPair{Figure: figure, OffFirst: i%2 == 0}
		for _, on := range []bool{!p.OffFirst, p.OffFirst} {
			value, err := c.half(ctx, on, measure)
			if err != nil {
				return err
			}
			if value == 0 {
				return fmt.Errorf("measuring %s: none", figure)
			}
			if on {
				p.On = value
			} else {
				p.Off = value
			}
		}
		p.Ratio = p.On / p.Off
		observe(p)
	}
	return nil
}

func (c *countersTable) half(ctx context.Context, on bool, measure func() (float64, error)) (float64, error) {
	change := c.off
	if on {
		change = c.on
	}
	if err := errors.Join(change(ctx), pass(ctx, floodSettle)); err != nil {
		return 0, err
	}
	value, err := measure()
	if err == nil && on {
		err = c.proveCounting(ctx)
	}
	return value, err
}

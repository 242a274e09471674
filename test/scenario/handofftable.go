package scenario

import (
	"context"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/announcer/handoff"
	"evenkeel.io/evenkeel/test/lab"
)

// handoffTable is the table of a node on which no announcer runs.
type handoffTable struct {
	node    *lab.Node
	earlier *lab.Node // which others had the VIPs before
	held    netip.Addr
	index   int
	table   *handoff.Table
	open    bool
}

// newHandoffTable describes the table of a node that holds a VIP.
func newHandoffTable(node, earlier *lab.Node, held netip.Addr) (*handoffTable, error) {
	index, err := node.Index()
	if err != nil {
		return nil, err
	}
	// Nobody renews the elements.
	table, err := handoff.New(handoff.Options{Timeout: 24 * time.Hour})
	return &handoffTable{node: node, earlier: earlier, held: held, index: index, table: table}, err
}

// handOn has the node hand on n VIPs that nobody uses, and the given ones. It always guards the one that it holds. WithoutTable removes
// the table.
func (h *handoffTable) handOn(ctx context.Context, n int, vips ...netip.Addr) error {
	if n == WithoutTable {
		return h.close(ctx)
	}
	unused := netip.MustParseAddr("198.18.0.0") // of a subnet for benchmarks (RFC 2544)
	for range n {
		unused = unused.Next()
		vips = append(vips, unused)
	}
	state := handoff.State{Guards: []handoff.Guard{{VIP: h.held, Interface: h.index, Held: true}}, Peers: []handoff.MAC{handoff.MAC(h.earlier.MAC)}}
	for _, vip := range vips {
		if vip != h.held {
			state.Guards = append(state.Guards, handoff.Guard{VIP: vip, Interface: h.index, Held: true})
		}
		state.Entries = append(state.Entries, handoff.Entry{
			VIP: vip, Interface: h.index, To: h.earlier.V4, Node: h.earlier.Name(), Started: time.Now(),
		})
	}
	return h.node.Do(func() error {
		if !h.open {
			if _, err := h.table.Open(ctx); err != nil {
				return err
			}
			h.open = true
		}
		return h.table.Set(ctx, state)
	})
}

// use is what was handed on for a VIP.
func (h *handoffTable) use(ctx context.Context, vip netip.Addr) (use handoff.Use, err error) {
	err = h.node.Do(func() error {
		uses, err := h.table.Stats(ctx)
		use = uses[vip]
		return err
	})
	return use, err
}

func (h *handoffTable) close(ctx context.Context) error {
	if !h.open {
		return nil
	}
	h.open = false
	return h.node.Do(func() error { return h.table.Remove(ctx) })
}

package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"evenkeel.io/evenkeel/test/lab"
)

// Trap is a property of real networks that looks like trouble and is none.
type Trap string

// Traps. (kube-proxy's IPVS mode is another one; the kernels that the lab has to do with often lack IPVS, so that its detection is
// tested beside the announcer's code.)
const (
	// ARPFiltered: the port of one node drops ARP packets for addresses that it doesn't know, which VIPs are.
	ARPFiltered Trap = "a port that drops ARP for addresses it doesn't know"
	// ARPSuppressed: half of the nodes are behind a switch that passes on no announcement, no probe and no question it can
	// answer.
	ARPSuppressed Trap = "switches that suppress neighbour packets"
)

// Traps are all of them.
func Traps() []Trap { return []Trap{ARPFiltered, ARPSuppressed} }

// Trapped is what VIPs did in a trap.
type Trapped struct {
	Trap    Trap    `json:"trap"`
	Nodes   int     `json:"nodes"`
	VIPs    int     `json:"vips"`
	Seconds float64 `json:"seconds"`
	// While nothing was wrong: takeovers by the kernels' events, and nodes that were suspect.
	Takeovers int               `json:"takeovers"`
	Suspects  map[string]string `json:"suspects"`
	// Loss is a node cut off after that, with carrier; ARP alone is watched, because a client's warm neighbour entry learns from
	// announcements, which don't reach it everywhere.
	Loss Takeover `json:"loss"`
}

// Spring sets a trap, lets a while pass in which nothing is to happen, cuts a node off and restores it if lose says so, and ends
// the trap.
func (e *Env) Spring(ctx context.Context, trap Trap, length time.Duration, lose bool) (result Trapped, err error) {
	result = Trapped{Trap: trap, Nodes: len(e.Nodes), Seconds: length.Seconds()}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	// The one that has VIPs to lose; the client is on its side of the switches.
	n, err := e.Busiest(0)
	if err != nil {
		return result, err
	}
	release, err := e.set(ctx, trap, n)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, release()) }()
	result.Suspects = e.watchSuspects(ctx, length)
	events, err := recorder.Stop()
	if err != nil {
		return result, err
	}
	result.Takeovers = bindingsElsewhere(events)
	owners, err := e.Owners()
	if err != nil {
		return result, err
	}
	result.VIPs = len(owners)
	if trap == ARPFiltered || !lose {
		// Whom its port filters can be cut off as before, but nobody hears of the VIPs that it takes over.
		return result, e.Whole(ctx)
	}
	var vips []netip.Addr
	for vip, on := range owners {
		if len(on) == 1 && on[0] == n.Name() {
			vips = append(vips, vip)
		}
	}
	result.Loss, err = e.watchTakeover(ctx, watched{vips: vips, lost: []*lab.Node{n}, patience: takeoverPatience}, func() error {
		return n.CutPort(lab.CarrierKept)
	})
	if err == nil {
		err = e.healed(ctx, n)
	}
	err = errors.Join(err, n.RestorePort())
	if err == nil {
		err = e.Whole(ctx)
	}
	return result, err
}

// set sets a trap at a node: its port filters, or half of the others are behind another switch.
func (e *Env) set(ctx context.Context, trap Trap, n *lab.Node) (release func() error, err error) {
	switch trap {
	case ARPFiltered:
		return func() error { return e.AllowARP(ctx, n) }, e.DropUnknownARP(ctx, n)
	case ARPSuppressed:
		var away []*lab.Netns
		for _, other := range e.Nodes {
			if other != n && len(away) < len(e.Nodes)/2 {
				away = append(away, other.Netns)
			}
		}
		return e.SuppressNeighbours(away...)
	}
	return nil, fmt.Errorf("there is no trap %q", trap)
}

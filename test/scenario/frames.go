package scenario

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/test/lab"
)

// FrameRates are frames a second at a node's port, in steady state.
type FrameRates struct {
	Nodes   int     `json:"nodes"`
	VIPs    int     `json:"vips"`
	Seconds float64 `json:"seconds"`
	// The port with the most of each kind counts. Liveness is ARP, neighbour discovery and echo together, both ways; what is
	// left of All are requests to the API server.
	Liveness float64 `json:"livenessFramesPerSecond"`
	All      float64 `json:"allFramesPerSecond"`
	Echo     float64 `json:"echoFramesPerSecond"`
	// ARPFrom is what a switch's inspection counts: ARP packets that come in at the port. ARPTo includes others' broadcasts.
	ARPFrom float64 `json:"arpFromNodePerSecond"`
	ARPTo   float64 `json:"arpToNodePerSecond"`
}

// CountSteady counts frames at the nodes' ports for a while, in which nothing is to happen.
func (e *Env) CountSteady(ctx context.Context, length time.Duration) (FrameRates, error) {
	result := FrameRates{Nodes: len(e.Nodes), Seconds: length.Seconds()}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	vips, err := e.ListVIPs(ctx)
	if err != nil {
		return result, err
	}
	result.VIPs = len(vips)
	if err := e.CountFrames(ctx); err != nil {
		return result, err
	}
	before, err := e.FrameCounts(ctx)
	if err != nil {
		return result, err
	}
	begin := time.Now()
	time.Sleep(length) // what is counted
	after, err := e.FrameCounts(ctx)
	if err != nil {
		return result, err
	}
	seconds := time.Since(begin).Seconds()
	for name, now := range after {
		from, to := now.From.Sub(before[name].From), now.To.Sub(before[name].To)
		rate := func(n uint64) float64 { return float64(n) / seconds }
		result.Liveness = max(result.Liveness, rate(from.ARP+from.ND+from.Echo+to.ARP+to.ND+to.Echo))
		result.All = max(result.All, rate(from.All+to.All))
		result.Echo = max(result.Echo, rate(from.Echo+to.Echo))
		result.ARPFrom, result.ARPTo = max(result.ARPFrom, rate(from.ARP)), max(result.ARPTo, rate(to.ARP))
	}
	return result, nil
}

// LostVIP is one VIP that vanished from a node which lives on, as its announcer doesn't run.
type LostVIP struct {
	Node string `json:"node"`
	Takeover
	StolenBack int `json:"stolenBack"`
}

// LoseVIP stops a node's announcer and deletes one of its VIPs: a standby has to notice that this one doesn't answer any more,
// while all others on that node do.
func (e *Env) LoseVIP(ctx context.Context, n *lab.Node) (LostVIP, error) {
	result := LostVIP{Node: n.Name()}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	vips, err := Held(n)
	if err != nil {
		return result, err
	}
	vips = vips[:min(1, len(vips))]
	if err := n.Announcer.Signal(unix.SIGSTOP); err != nil {
		return result, err
	}
	result.Takeover, err = e.watchTakeover(ctx, watched{vips: vips, lost: []*lab.Node{n}, heard: true, requests: true, patience: takeoverPatience}, func() error {
		return n.DropVIP(vips[0])
	})
	if continued := n.Announcer.Signal(unix.SIGCONT); err == nil {
		err = continued
	}
	if err != nil {
		return result, err
	}
	if err := e.Whole(ctx); err != nil {
		return result, err
	}
	result.StolenBack, err = e.countHeld(n, vips)
	return result, err
}

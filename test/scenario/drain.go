package scenario

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"evenkeel.io/evenkeel/test/lab"
)

// Drained is what VIPs did while their nodes were drained with kubectl.
type Drained struct {
	Drained  []string `json:"drained"`
	Nodes    int      `json:"nodes"`
	Standbys int      `json:"standbys"`
	Seconds  float64  `json:"drainSeconds"`
	// Error is kubectl's, if it failed.
	Error string `json:"error,omitempty"`
	// Pings of the drained nodes' VIPs, and connections to them, 100 a second.
	Probes   Unanswered `json:"probes"`
	Connects Connects   `json:"connects"`
	// Established connections to them, which were opened before.
	Established Streamed `json:"established"`
	// TwoOwnersMs is the longest time that two nodes had one of these VIPs.
	TwoOwnersMs float64 `json:"twoOwnersMs"`
	Moves       int     `json:"moves"`
	// CordonMoves are moves in the seconds after a cordon alone.
	CordonMoves int `json:"cordonMoves"`
	// Spread over the nodes that weren't drained, by their kernels.
	Spread Spread `json:"spreadOfOthers"`
	// ReturnMoves are moves after the nodes were uncordoned.
	ReturnMoves int `json:"returnMoves"`
}

// Connects sums up the connections that a client opened.
type Connects struct {
	Sent   int `json:"sent"`
	Failed int `json:"failed"`
	// Slow took longer than half a second: a lost SYN is sent again after one.
	Slow      int     `json:"slow"`
	SlowestMs float64 `json:"slowestMs"`
	// Unanswered were connected and got no good answer.
	Unanswered   int    `json:"unanswered"`
	FirstFailure string `json:"firstFailure,omitempty"`
}

func connectsOf(attempts []lab.Attempt) Connects {
	c := Connects{Sent: len(attempts)}
	for _, a := range attempts {
		took := a.Connected.Sub(a.Sent)
		switch {
		case a.Connected.IsZero():
			c.Failed++
		case a.Answered.IsZero():
			c.Unanswered++
		}
		if !a.Connected.IsZero() {
			c.SlowestMs = max(c.SlowestMs, millis(took))
			if took > 500*time.Millisecond {
				c.Slow++
			}
		}
		if a.Failed != "" && c.FirstFailure == "" {
			c.FirstFailure = a.Failed
		}
	}
	return c
}

const (
	// cordonWatch is how long a cordon alone is watched, watchAfter the VIPs after a drain and after the nodes' return: longer
	// than an address lives that its announcer has left behind.
	cordonWatch = 2 * time.Second
	watchAfter  = 8 * time.Second
	// establishedBefore is how many connections, with ten requests a second each, a drain finds.
	establishedBefore = 30
	// drainTimeout is beyond any mark.
	drainTimeout = "120s"
)

// Drain drains nodes at once as a person does, watches their VIPs, and uncordons them.
func (e *Env) Drain(ctx context.Context, nodes ...*lab.Node) (Drained, error) {
	result := Drained{Nodes: len(e.Nodes), Standbys: e.Standbys}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	var vips []netip.Addr
	for _, n := range nodes {
		held, err := Held(n)
		if err != nil {
			return result, err
		}
		vips, result.Drained = append(vips, held...), append(result.Drained, n.Name())
	}
	before, err := e.Owners()
	if err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	begin := time.Now()
	if len(vips) == 0 {
		err = e.drain(ctx, &result, nodes, before)
	} else {
		client, startErr := e.Client.StartRequests(vips, lab.RequestOptions{Every: 10 * time.Millisecond, InTurn: true})
		if startErr != nil {
			return result, startErr
		}
		s, startErr := startStreams(ctx, e.Client.Netns, vips, establishedBefore, 100*time.Millisecond)
		if startErr != nil {
			_, stopErr := client.Stop()
			return result, errors.Join(startErr, stopErr)
		}
		result.Probes, err = e.Probing(ctx, vips, 10*time.Millisecond, func() error { return e.drain(ctx, &result, nodes, before) })
		result.Established = s.phase()
		s.end()
		attempts, stopErr := client.Stop()
		result.Connects, err = connectsOf(attempts), errors.Join(err, stopErr)
	}
	if err != nil {
		return result, err
	}
	events, err := recorder.Stop()
	if err != nil {
		return result, err
	}
	longest, _ := twoOwners(events, vips, begin, time.Now())
	result.TwoOwnersMs = millis(longest)
	return result, e.uncordon(ctx, &result, nodes)
}

// drain cordons, waits, drains, and waits again.
func (e *Env) drain(ctx context.Context, result *Drained, nodes []*lab.Node, before map[netip.Addr][]string) error {
	for _, n := range nodes {
		if _, err := e.Kubectl(ctx, "cordon", n.Name()); err != nil {
			return err
		}
	}
	time.Sleep(cordonWatch)
	now, err := e.Owners()
	if err != nil {
		return err
	}
	result.CordonMoves = movesBetween(before, now)
	begin := time.Now()
	var g errgroup.Group
	for _, n := range nodes {
		g.Go(func() error {
			_, err := e.Kubectl(ctx, "drain", n.Name(), "--ignore-daemonsets", "--timeout="+drainTimeout)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		result.Error = err.Error()
	}
	result.Seconds = time.Since(begin).Seconds()
	time.Sleep(watchAfter)
	if now, err = e.Owners(); err != nil {
		return err
	}
	result.Moves = movesBetween(before, now)
	if others := e.others(nodes...); len(others) > 0 {
		result.Spread = spreadOver(now, others)
	}
	return nil
}

// uncordon brings drained nodes back.
func (e *Env) uncordon(ctx context.Context, result *Drained, nodes []*lab.Node) error {
	before, err := e.Owners()
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if _, err := e.Kubectl(ctx, "uncordon", n.Name()); err != nil {
			return err
		}
	}
	if _, err := e.Settled(ctx); err != nil {
		return err
	}
	now, err := e.Owners()
	result.ReturnMoves = movesBetween(before, now)
	return err
}

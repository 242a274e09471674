package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Flicker has the port of every node silent for length once per period, each at a time of its own within it, with carrier,
// until stop is called. The seed decides the times.
func (c *Cluster) Flicker(period, length time.Duration, seed uint64) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, n := range c.Nodes {
		phase := time.Duration(random.Int64N(int64(period - length)))
		group.Go(func() error { return flicker(ctx, portName(n.name), phase, period, length) })
	}
	return sync.OnceValue(func() error {
		cancel()
		return group.Wait()
	})
}

func flicker(ctx context.Context, port string, phase, period, length time.Duration) error {
	for next := time.Now().Add(phase); ; next = next.Add(period) {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(next)):
		}
		if err := setPortState(port, bridgeStateDisabled); err != nil {
			return fmt.Errorf("silencing a port: %w", err)
		}
		// To its end also when ctx has: a port that was silenced forwards again.
		time.Sleep(length)
		if err := setPortState(port, bridgeStateForwarding); err != nil {
			return fmt.Errorf("ending the silence of a port: %w", err)
		}
	}
}

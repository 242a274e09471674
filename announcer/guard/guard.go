// Package guard runs the protection of VIPs (package protect) beside the agent's loop: the kernel takes milliseconds to commit
// a change of rules, which nothing else waits for.
package guard

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/protect"
)

// Table is what a guard keeps; protect.Table is one.
type Table interface {
	Set(ctx context.Context, entries []protect.Entry) error
	Renew(ctx context.Context) error
}

// Guard applies the newest wish and lets the others pass. Its methods are safe for concurrent use.
type Guard struct {
	table  Table
	every  time.Duration
	notify func(error)

	mu      sync.Mutex
	entries []protect.Entry
	waiting []func()
	changed chan struct{}
}

// New returns a guard that starts the elements' timeouts anew at the given interval. notify is told after each try whether the protection is in force; it must not block. A nil table
// protects nothing and says nothing.
func New(table Table, every time.Duration, notify func(error)) *Guard {
	return &Guard{table: table, every: every, notify: notify, changed: make(chan struct{}, 1)}
}

// Set asks for the complete set. done is called once it, or a later one, is in force, or when that failed: a VIP that can't be
// protected is still announced, and the node's condition Protected says so.
func (g *Guard) Set(entries []protect.Entry, done func()) {
	if g.table == nil {
		done()
		return
	}
	g.mu.Lock()
	g.entries = entries
	g.waiting = append(g.waiting, done)
	g.mu.Unlock()
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// Run applies until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	if g.table == nil {
		<-ctx.Done()
		return nil
	}
	renew := time.NewTicker(g.every)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.changed:
			g.mu.Lock()
			entries, waiting := g.entries, g.waiting
			g.waiting = nil
			g.mu.Unlock()
			g.tell(ctx, g.table.Set(ctx, entries))
			for _, done := range waiting {
				done()
			}
		case <-renew.C:
			g.tell(ctx, g.table.Renew(ctx))
		}
	}
}

func (g *Guard) tell(ctx context.Context, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		klog.FromContext(ctx).Error(err, "Protecting the VIPs failed, the node's own listeners may be reachable through them")
	}
	g.notify(err)
}

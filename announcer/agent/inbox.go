package agent

import "sync"

// inbox hands work to the agent's loop in order. Sending never blocks, since senders are netlink and packet readers that must
// not be held up; what they send is bounded by addresses and interfaces, not by traffic.
type inbox struct {
	mu    sync.Mutex
	items []func()
	ready chan struct{}
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

func (b *inbox) send(item func()) {
	b.mu.Lock()
	b.items = append(b.items, item)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}

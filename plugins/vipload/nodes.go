package vipload

import (
	"sync"

	"evenkeel.io/evenkeel/api/eligible"
)

// refusals says in the scheduler's words why a node's NICs can't announce a VIP.
var refusals = map[eligible.Refusal]*rejection{
	eligible.NoSubnet: &noSubnet, eligible.NoInterface: &noInterface, eligible.NoCarrier: &noCarrier,
}

// nodeStore holds the facts of all VIPNodes. It is safe for concurrent use: Filter reads it from many goroutines.
type nodeStore struct {
	mu    sync.RWMutex
	facts map[string]eligible.Facts
}

func newNodeStore() *nodeStore { return &nodeStore{facts: map[string]eligible.Facts{}} }

func (s *nodeStore) get(name string) (eligible.Facts, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	facts, ok := s.facts[name]
	return facts, ok
}

// set reports whether anything changed that Filter looks at.
func (s *nodeStore) set(name string, facts eligible.Facts) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.facts[name]
	s.facts[name] = facts
	knownNodes.Set(float64(len(s.facts)))
	return !ok || !old.Equal(facts)
}

func (s *nodeStore) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.facts, name)
	knownNodes.Set(float64(len(s.facts)))
}

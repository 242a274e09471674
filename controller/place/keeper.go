package place

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// IndexVIP is the field by which a cache indexes pods: the value of their label evenkeel.io/vip.
const IndexVIP = "evenkeel.io/vip"

// IndexFunc is the indexer for IndexVIP.
func IndexFunc(obj client.Object) []string {
	if name := obj.GetLabels()[placeholder.LabelVIP]; name != "" {
		return []string{name}
	}
	return nil
}

// expectation bounds how long a created pod that no watch has shown counts as being there. Watches are behind by
// milliseconds; this only matters when a pod vanished before any of them saw it.
const expectation = 10 * time.Second

// Keeper lets one reconciler at a time see to a VIP's placeholders, and remembers what the pods themselves don't say. It is
// safe for concurrent use.
type Keeper struct {
	client client.Client
	reader client.Reader // past the cache
	clock  clock.PassiveClock
	look   Look

	mu       sync.Mutex
	vips     map[string]*memory
	verdicts map[types.UID]verdict // on pools' patches
}

// memory is what the pods themselves don't say.
type memory struct {
	busy           bool
	unseen         map[string]time.Time // created, not yet shown by a watch: until when they count as being there
	sequence, term int64                // highest used
	failures       map[placeholder.Role]failures
	asked          map[string]corev1.PodSpec // of nodes, by the placeholders that wait for one
}

// failures are the placeholders of a role that failed in a row.
type failures struct {
	last      types.UID
	count     int
	notBefore time.Time
}

// NewKeeper returns a Keeper. client reads from a cache with IndexVIP, reader past it.
func NewKeeper(client client.Client, reader client.Reader, clock clock.PassiveClock, look Look) *Keeper {
	return &Keeper{client: client, reader: reader, clock: clock, look: look, vips: map[string]*memory{}, verdicts: map[types.UID]verdict{}}
}

// First makes the first placeholder of a VIP that has none. Where there is any, or somebody else is at it, it does nothing.
func (k *Keeper) First(ctx context.Context, s Subject) error {
	turn, err := k.Begin(ctx, s)
	if err != nil || turn == nil {
		return err
	}
	defer turn.End()
	if turn.Any() || turn.Unseen() > 0 {
		return nil
	}
	_, err = turn.Create(ctx, placeholder.Active, "")
	return err
}

// Begin takes the turn at a VIP's placeholders, until End. It returns nil where another reconciler has it.
func (k *Keeper) Begin(ctx context.Context, s Subject) (*Turn, error) {
	m, ok := k.enter(s.VIP.Name)
	if !ok {
		return nil, nil
	}
	places, err := k.Places(ctx, s.VIP)
	if err == nil {
		s.Pool, err = k.Usable(ctx, s.Pool)
	}
	if err != nil {
		k.leave(m)
		return nil, err
	}
	k.mu.Lock()
	m.note(places, k.clock.Now())
	k.mu.Unlock()
	return &Turn{Places: places, keeper: k, memory: m, subject: s}, nil
}

// Places lists and sorts a VIP's placeholders.
func (k *Keeper) Places(ctx context.Context, vip *v1alpha1.VIP) (Places, error) {
	var pods corev1.PodList
	if err := k.client.List(ctx, &pods, client.InNamespace(k.look.Namespace), client.MatchingFields{IndexVIP: vip.Name}); err != nil {
		return Places{}, fmt.Errorf("listing placeholders of %s: %w", vip.Name, err)
	}
	return Sort(vip, pods.Items), nil
}

// note takes in what the pods say. The keeper's lock is held.
func (m *memory) note(places Places, now time.Time) {
	m.sequence = max(m.sequence, places.highestSequence)
	m.term = max(m.term, places.highestTerm)
	for name, until := range m.unseen {
		if !now.Before(until) {
			delete(m.unseen, name)
		}
	}
	waiting := places.waiting()
	for name := range m.asked {
		if _, unseen := m.unseen[name]; !unseen && !waiting[name] {
			delete(m.asked, name)
		}
	}
	for _, role := range []placeholder.Role{placeholder.Active, placeholder.Standby} {
		pod := places.lastOf(role)
		if pod == nil || pod.Status.Phase != corev1.PodFailed || pod.UID == m.failures[role].last {
			continue
		}
		f := m.failures[role]
		if now.Sub(pod.CreationTimestamp.Time) >= settled {
			f.count = 0
		}
		f.last, f.count = pod.UID, f.count+1
		f.notBefore = now.Add(delay(f.count))
		m.failures[role] = f
	}
}

// Observed says that a watch has shown the pod: from now on the cache is right about it.
func (k *Keeper) Observed(vip, pod string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.vips[vip]; m != nil {
		delete(m.unseen, pod)
	}
}

// Expects says whether a pod of the VIP was created that no watch has shown, or may be being created.
func (k *Keeper) Expects(vip string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.vips[vip]
	if m == nil {
		return false
	}
	now := k.clock.Now()
	for _, until := range m.unseen {
		if now.Before(until) {
			return true
		}
	}
	return m.busy
}

// Forget drops what is remembered of a VIP whose object is gone.
func (k *Keeper) Forget(vip string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.vips[vip]; m != nil && !m.busy {
		delete(k.vips, vip)
	}
}

func (k *Keeper) enter(vip string) (*memory, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.vips[vip]
	if m == nil {
		m = &memory{unseen: map[string]time.Time{}, failures: map[placeholder.Role]failures{}, asked: map[string]corev1.PodSpec{}}
		k.vips[vip] = m
	}
	if m.busy {
		return nil, false
	}
	m.busy = true
	return m, true
}

func (k *Keeper) leave(m *memory) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m.busy = false
}

// nodes looks VIPNodes up for the length of a request. Where one can't be read the peer is named without MACs.
func (k *Keeper) nodes(ctx context.Context) Nodes {
	return func(name string) *v1alpha1.VIPNode {
		var node v1alpha1.VIPNode
		if err := k.client.Get(ctx, types.NamespacedName{Name: name}, &node); err != nil {
			return nil
		}
		return &node
	}
}

package place

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
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

// Keeper sees to it that each VIP has its placeholder, from whichever reconciler asks. It is safe for concurrent use: of two
// that ask for one VIP at a time the second is told to come back.
type Keeper struct {
	client client.Client
	reader client.Reader // past the cache
	clock  clock.PassiveClock
	look   Look

	mu   sync.Mutex
	vips map[string]*memory
}

// memory is what the pods themselves don't say.
type memory struct {
	busy           bool
	unseen         string // created, not yet shown by a watch
	unseenUntil    time.Time
	sequence, term int64 // highest used
	failed         types.UID
	failures       int
	notBefore      time.Time
}

// NewKeeper returns a Keeper. client reads from a cache with IndexVIP, reader past it.
func NewKeeper(client client.Client, reader client.Reader, clock clock.PassiveClock, look Look) *Keeper {
	return &Keeper{client: client, reader: reader, clock: clock, look: look, vips: map[string]*memory{}}
}

// Outcome is what Ensure found and did.
type Outcome struct {
	Places
	// Created is the new placeholder, or nil.
	Created *corev1.Pod
	// Retry is after how long to ask again (0: no need).
	Retry time.Duration
	// Waiting: no placeholder is made before Retry, because the last ones failed.
	Waiting bool
	// Busy: another reconciler is at this VIP; nothing was looked at.
	Busy bool
}

// Places lists and sorts a VIP's placeholders.
func (k *Keeper) Places(ctx context.Context, vip *v1alpha1.VIP) (Places, error) {
	var pods corev1.PodList
	if err := k.client.List(ctx, &pods, client.InNamespace(k.look.Namespace), client.MatchingFields{IndexVIP: vip.Name}); err != nil {
		return Places{}, fmt.Errorf("listing placeholders of %s: %w", vip.Name, err)
	}
	return Sort(vip, pods.Items), nil
}

// Ensure makes a placeholder if the VIP needs one now.
func (k *Keeper) Ensure(ctx context.Context, s Subject) (Outcome, error) {
	m, ok := k.enter(s.VIP.Name)
	if !ok {
		return Outcome{Busy: true, Retry: time.Second}, nil
	}
	defer k.leave(m)

	places, err := k.Places(ctx, s.VIP)
	if err != nil {
		return Outcome{}, err
	}
	out := Outcome{Places: places}
	now := k.clock.Now()
	k.mu.Lock()
	m.note(places, now)
	switch {
	case places.Live != nil:
		k.mu.Unlock()
		return out, nil
	case m.unseen != "" && now.Before(m.unseenUntil):
		out.Retry = m.unseenUntil.Sub(now)
		k.mu.Unlock()
		return out, nil
	case now.Before(m.notBefore):
		out.Retry, out.Waiting = m.notBefore.Sub(now), true
		k.mu.Unlock()
		return out, nil
	}
	claim := Claim{Sequence: m.sequence + 1, Term: max(m.term, s.VIP.Status.Term) + 1}
	k.mu.Unlock()

	claim.Peers = places.peers(s.VIP, func(name string) *v1alpha1.VIPNode { return k.node(ctx, name) })
	out.Created, err = k.create(ctx, m, s, places, claim)
	return out, err
}

// note takes in what the pods say. The keeper's lock is held.
func (m *memory) note(places Places, now time.Time) {
	m.sequence = max(m.sequence, places.highestSequence)
	m.term = max(m.term, places.highestTerm)
	if places.Live != nil {
		m.unseen = ""
		return
	}
	pod := places.Previous()
	if pod == nil || pod.Status.Phase != corev1.PodFailed || pod.UID == m.failed {
		return
	}
	m.failed = pod.UID
	if now.Sub(pod.CreationTimestamp.Time) >= settled {
		m.failures = 0
	}
	m.failures++
	m.notBefore = now.Add(delay(m.failures))
}

// create makes the pod. A name that is taken by what we didn't know of is passed over.
func (k *Keeper) create(ctx context.Context, m *memory, s Subject, places Places, claim Claim) (*corev1.Pod, error) {
	var before map[string]string
	if previous := places.Previous(); previous != nil {
		before = previous.Annotations
	}
	for {
		pod := Build(s, k.look, claim, before)
		undo := k.expect(m, pod.Name, claim)
		err := k.client.Create(ctx, pod)
		if err == nil {
			klog.FromContext(ctx).V(2).Info("Created placeholder", "vip", s.VIP.Name, "pod", klog.KObj(pod), "term", claim.Term)
			return pod, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			undo() // should it be there after all, the next try meets it under this name
			return nil, fmt.Errorf("creating placeholder %s: %w", pod.Name, err)
		}
		var existing corev1.Pod
		err = k.reader.Get(ctx, client.ObjectKeyFromObject(pod), &existing)
		switch {
		case err == nil && ownedBy(&existing, s.VIP) && !placeholder.Ended(&existing):
			return &existing, nil // ours, made before a restart or by a request whose answer was lost
		case err != nil && !apierrors.IsNotFound(err):
			undo()
			return nil, fmt.Errorf("looking at placeholder %s: %w", pod.Name, err)
		}
		claim.Sequence++
		claim.Term = max(claim.Term, Term(&existing)+1)
	}
}

// expect notes what is about to be created; undo forgets it again.
func (k *Keeper) expect(m *memory, pod string, claim Claim) (undo func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sequence, term := m.sequence, m.term
	m.unseen, m.unseenUntil = pod, k.clock.Now().Add(expectation)
	m.sequence, m.term = max(m.sequence, claim.Sequence), max(m.term, claim.Term)
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		m.unseen, m.sequence, m.term = "", sequence, term
	}
}

// Observed says that a watch has shown the pod: from now on the cache is right about it.
func (k *Keeper) Observed(vip, pod string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m := k.vips[vip]; m != nil && m.unseen == pod {
		m.unseen = ""
	}
}

// Expects says whether a pod of the VIP was created that no watch has shown.
func (k *Keeper) Expects(vip string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := k.vips[vip]
	return m != nil && (m.busy || m.unseen != "" && k.clock.Now().Before(m.unseenUntil))
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
		m = &memory{}
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

func (k *Keeper) node(ctx context.Context, name string) *v1alpha1.VIPNode {
	var node v1alpha1.VIPNode
	if err := k.client.Get(ctx, types.NamespacedName{Name: name}, &node); err != nil {
		return nil // the peer is named without MACs
	}
	return &node
}

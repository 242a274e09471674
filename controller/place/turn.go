package place

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Turn is one reconciler's turn at a VIP's placeholders. It is not safe for concurrent use.
type Turn struct {
	// Places as the cache had them at the beginning.
	Places
	keeper  *Keeper
	memory  *memory
	subject Subject
}

// End gives the turn back.
func (t *Turn) End() { t.keeper.leave(t.memory) }

// Unseen is how long to wait for the watch to show what was created; 0 when it has shown everything.
func (t *Turn) Unseen() time.Duration {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	var wait time.Duration
	for _, until := range t.memory.unseen {
		wait = max(wait, until.Sub(t.keeper.clock.Now()))
	}
	return wait
}

// Delay is how long the next placeholder of a role has to wait because the last ones failed.
func (t *Turn) Delay(role placeholder.Role) time.Duration {
	t.keeper.mu.Lock()
	defer t.keeper.mu.Unlock()
	return max(0, t.memory.failures[role].notBefore.Sub(t.keeper.clock.Now()))
}

// Succession lists the VIP's places as the cache had them.
func (t *Turn) Succession(ctx context.Context) []placeholder.Peer {
	return t.Places.Succession(t.subject.VIP, t.keeper.nodes(ctx))
}

// Create makes a placeholder. An active one begins a new term; a standby is of the term of the active that it stands by for. on is the
// only node that it may be bound to; empty: the scheduler chooses.
func (t *Turn) Create(ctx context.Context, role placeholder.Role, on string) (*corev1.Pod, error) {
	k, m := t.keeper, t.memory
	k.mu.Lock()
	claim := Claim{Role: role, On: on, Sequence: m.sequence + 1, Term: t.nextTerm()}
	k.mu.Unlock()
	places := t.Places
	if role == placeholder.Standby {
		claim.Term = placeholder.Term(t.Live)
	} else if t.Live != nil { // it is about to be one of the previous owners
		places.Surplus, places.Live = append([]*corev1.Pod{t.Live}, t.Surplus...), nil
	}
	claim.Peers = places.Succession(t.subject.VIP, k.nodes(ctx))
	var before map[string]string
	if t.Live != nil {
		before = t.Live.Annotations
	} else if previous := t.Previous(); previous != nil {
		before = previous.Annotations
	}
	for {
		pod := Build(t.subject, k.look, claim, before)
		undo := t.expect(pod.Name, claim)
		t.memory.asked[pod.Name] = askOf(pod.DeepCopy())
		err := k.client.Create(ctx, pod)
		if err == nil {
			klog.FromContext(ctx).V(2).Info("Created placeholder", "vip", t.subject.VIP.Name, "pod", klog.KObj(pod), "role", role, "term", claim.Term)
			return pod, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			undo() // should it be there after all, the next try meets it under this name
			return nil, fmt.Errorf("creating placeholder %s: %w", pod.Name, err)
		}
		var existing corev1.Pod
		err = k.reader.Get(ctx, client.ObjectKeyFromObject(pod), &existing)
		switch {
		case err == nil && ownedBy(&existing, t.subject.VIP) && !placeholder.Ended(&existing) && placeholder.RoleOf(&existing) == role:
			return &existing, nil // ours, made before a restart or by a request whose answer was lost
		case err != nil && !apierrors.IsNotFound(err):
			undo()
			return nil, fmt.Errorf("looking at placeholder %s: %w", pod.Name, err)
		}
		claim.Sequence++
		if role == placeholder.Active {
			claim.Term = max(claim.Term, placeholder.Term(&existing)+1)
		}
	}
}

// nextTerm is above every term that was ever used. The keeper's lock is held.
func (t *Turn) nextTerm() int64 { return max(t.memory.term, t.subject.VIP.Status.Term) + 1 }

// expect notes what is about to be created; undo forgets it again.
func (t *Turn) expect(pod string, claim Claim) (undo func()) {
	k, m := t.keeper, t.memory
	k.mu.Lock()
	defer k.mu.Unlock()
	sequence, term := m.sequence, m.term
	m.unseen[pod] = k.clock.Now().Add(expectation)
	m.sequence, m.term = max(m.sequence, claim.Sequence), max(m.term, claim.Term)
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(m.unseen, pod)
		m.sequence, m.term = sequence, term
	}
}

// Promote makes a placeholder the active one, in a new term, by one write: its role, its term and the new succession belong
// together. It fails with a conflict where the pod has changed since it was looked at.
func (t *Turn) Promote(ctx context.Context, pod *corev1.Pod) error {
	k := t.keeper
	k.mu.Lock()
	term := t.nextTerm()
	t.memory.term = term
	k.mu.Unlock()
	after := Places{Live: pod, Ended: t.Ended}
	for _, other := range t.Standbys {
		if other != pod {
			after.Standbys = append(after.Standbys, other)
		}
	}
	for _, other := range append([]*corev1.Pod{t.Live}, t.Surplus...) {
		if other != nil && other != pod {
			after.Surplus = append(after.Surplus, other)
		}
	}
	next := pod.DeepCopy()
	next.Labels[placeholder.LabelRole] = string(placeholder.Active)
	next.Annotations[placeholder.AnnotationTerm] = strconv.FormatInt(term, 10)
	next.Annotations[placeholder.AnnotationPeers] = placeholder.FormatPeers(after.Succession(t.subject.VIP, k.nodes(ctx)))
	delete(next.Annotations, placeholder.AnnotationLeaving)
	if err := k.client.Patch(ctx, next, client.MergeFromWithOptions(pod, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("promoting placeholder %s: %w", pod.Name, err)
	}
	klog.FromContext(ctx).Info("Promoted placeholder", "vip", t.subject.VIP.Name, "pod", klog.KObj(pod), "node", pod.Spec.NodeName, "term", term)
	return nil
}

// Release tells the announcer of a placeholder that another node has the VIP, so that it lets go at once: the claim may not get
// there, as over a switch that suppresses announcements.
func (t *Turn) Release(ctx context.Context, pod *corev1.Pod) error {
	return Release(ctx, t.keeper.client, pod)
}

// Release marks a placeholder, so that its announcer lets go of the VIP at once instead of holding it for a successor.
func Release(ctx context.Context, c client.Client, pod *corev1.Pod) error {
	if pod.Annotations[placeholder.AnnotationRelease] == "true" {
		return nil
	}
	marked := pod.DeepCopy()
	marked.Annotations[placeholder.AnnotationRelease] = "true"
	if err := c.Patch(ctx, marked, client.MergeFrom(pod)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("marking placeholder %s for release: %w", pod.Name, err)
	}
	return nil
}

// Delete deletes a placeholder, as it was looked at. now removes its object at once, without waiting for its kubelet: for
// nodes that are gone.
func (t *Turn) Delete(ctx context.Context, pod *corev1.Pod, now bool) error {
	if pod.DeletionTimestamp != nil && !now {
		return nil
	}
	options := []client.DeleteOption{client.Preconditions{UID: &pod.UID}}
	if now {
		options = append(options, client.GracePeriodSeconds(0))
	}
	if err := t.keeper.client.Delete(ctx, pod.DeepCopy(), options...); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting placeholder %s: %w", pod.Name, err)
	}
	return nil
}

// Tell brings the annotations of the living placeholders up to date: what follows the Service and the pool, and who else has
// a place. Surplus actives learn who has succeeded them, so that its claim is no conflict to them. newTerm begins a new term with
// the roles as they are.
func (t *Turn) Tell(ctx context.Context, newTerm bool) error {
	if t.Live == nil {
		return nil
	}
	list := t.Succession(ctx)
	term := t.Live.Annotations[placeholder.AnnotationTerm]
	if newTerm {
		t.keeper.mu.Lock()
		t.memory.term = t.nextTerm()
		term = strconv.FormatInt(t.memory.term, 10)
		t.keeper.mu.Unlock()
		klog.FromContext(ctx).Info("Began a new term", "vip", t.subject.VIP.Name, "pod", klog.KObj(t.Live), "term", term)
	}
	for _, pod := range t.Standbys {
		if err := t.tell(ctx, pod, list, term); err != nil {
			return err
		}
	}
	if err := t.tell(ctx, t.Live, list, term); err != nil {
		return err
	}
	for _, pod := range t.Surplus {
		if err := t.tell(ctx, pod, list, pod.Annotations[placeholder.AnnotationTerm]); err != nil {
			return err
		}
	}
	return nil
}

func (t *Turn) tell(ctx context.Context, pod *corev1.Pod, list []placeholder.Peer, term string) error {
	want := Annotations(t.subject, pod.Annotations)
	want[placeholder.AnnotationTerm] = term
	if !knows(pod, list) {
		want[placeholder.AnnotationPeers] = placeholder.FormatPeers(list)
	}
	patch, labels := Difference(pod.Annotations, want), Difference(pod.Labels, Labels(t.subject))
	if len(patch)+len(labels) == 0 {
		return nil
	}
	// The resource version refuses a change of what was looked at too long ago: its role and term may be others by now.
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": patch, "labels": labels, "resourceVersion": pod.ResourceVersion}})
	if err != nil {
		return fmt.Errorf("writing a patch for placeholder %s: %w", pod.Name, err)
	}
	if err := t.keeper.client.Patch(ctx, pod.DeepCopy(), client.RawPatch(types.MergePatchType, data)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patching annotations of placeholder %s: %w", pod.Name, err)
	}
	klog.FromContext(ctx).V(3).Info("Told a placeholder what has changed", "pod", klog.KObj(pod), "changes", len(patch)+len(labels))
	return nil
}

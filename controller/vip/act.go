package vip

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// done is what was done about a VIP's placeholders.
type done struct {
	// changed: roles are changing, so that nothing else is to be concluded from what was seen.
	changed bool
	// created is a new active placeholder, or nil.
	created *corev1.Pod
	// waiting: no active placeholder is made for now, because the last ones failed.
	waiting bool
	retry   time.Duration
}

// act carries a decision out. The VIP comes first, then what protects it, then what is of no use any more.
func (r *Reconciler) act(ctx context.Context, turn *place.Turn, s place.Subject, d failover.Decision) (done, error) {
	out := done{retry: d.Again}
	for _, node := range slices.Sorted(maps.Keys(d.Suspect)) {
		if err := r.Suspects.Mark(ctx, node, d.Suspect[node]); err != nil {
			return out, err
		}
	}
	if d.Ended != nil && !d.Ended.Done {
		if err := r.endMove(ctx, s, d.Ended); err != nil {
			return out, err
		}
	}
	if d.Withdraw {
		out.changed = true
		return out, r.withdraw(ctx, turn, d)
	}
	byName := map[string]*corev1.Pod{}
	for _, pod := range slices.Concat(turn.Standbys, turn.Surplus) {
		byName[pod.Name] = pod
	}
	if d.Promote != "" || d.CreateActive {
		if d.Paced {
			if wait := r.pace(); wait > 0 {
				out.retry = sooner(out.retry, wait)
				return out, nil
			}
		}
		if d.Promote != "" {
			if err := turn.Promote(ctx, byName[d.Promote]); err != nil {
				return out, err
			}
			out.changed = true
		} else if wait := turn.Delay(placeholder.Active); wait > 0 {
			out.waiting, out.retry = true, sooner(out.retry, wait)
			return out, nil
		} else {
			pod, err := turn.Create(ctx, placeholder.Active, d.On)
			if err != nil {
				return out, r.tellUncreated(s, err)
			}
			// Beside one that still stands the new one changes roles; alone it is just new.
			out.created, out.changed = pod, turn.Live != nil
		}
		r.setReason(s.VIP.Name, d.Why)
		return out, nil
	}
	for range d.CreateStandbys {
		if wait := turn.Delay(placeholder.Standby); wait > 0 {
			out.retry = sooner(out.retry, wait)
			break
		}
		if _, err := turn.Create(ctx, placeholder.Standby, ""); err != nil {
			return out, r.tellUncreated(s, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Delete)) {
		klog.FromContext(ctx).V(2).Info("Deleting placeholder", "pod", name, "now", d.Delete[name])
		if slices.Contains(turn.Surplus, byName[name]) && !d.Delete[name] {
			if err := turn.Release(ctx, byName[name]); err != nil {
				return out, err
			}
		}
		if err := turn.Delete(ctx, byName[name], d.Delete[name]); err != nil {
			return out, err
		}
	}
	for _, pod := range turn.Ended {
		// One that failed goes when it has a successor; one on a node that is gone would otherwise wait for its kubelet for ever.
		gone := pod.DeletionTimestamp != nil && r.silent(pod.Spec.NodeName)
		if !gone && pod.DeletionTimestamp != nil && succeeded(pod, turn.Live) {
			if err := turn.Release(ctx, pod); err != nil {
				return out, err
			}
		}
		if turn.Live != nil && pod.DeletionTimestamp == nil || gone {
			if err := turn.Delete(ctx, pod, gone); err != nil {
				return out, err
			}
		}
	}
	for _, service := range s.Services() {
		r.Teller.Settle(service.UID, "placeholder/"+s.VIP.Name)
	}
	return out, nil
}

// succeeded says whether another node announces what a placeholder that is going holds for its successor.
func succeeded(pod, live *corev1.Pod) bool {
	if live == nil || placeholder.RoleOf(pod) != placeholder.Active || pod.Spec.NodeName == live.Spec.NodeName {
		return false
	}
	mine, theirs := placeholder.ConditionOf(pod, placeholder.ConditionAnnounced), placeholder.ConditionOf(live, placeholder.ConditionAnnounced)
	return mine != nil && mine.Status == corev1.ConditionTrue && theirs != nil && theirs.Status == corev1.ConditionTrue
}

func (r *Reconciler) tellUncreated(s place.Subject, err error) error {
	for _, service := range s.Services() {
		r.Teller.TellOnce(service, "placeholder/"+s.VIP.Name, serving.Event{Warning: true, Reason: "NoPlaceholder", Action: "Announce",
			Note: err.Error() + ". It is tried again by itself"})
	}
	return err
}

// silent says whether a node fell silent.
func (r *Reconciler) silent(node string) bool {
	vipNode := r.Nodes.VIPNode(node)
	return vipNode != nil && vipNode.Spec.Suspect != nil && vipNode.Spec.Suspect.Reason == failover.FellSilent
}

// pace returns how long a move that isn't urgent has to wait; 0: it may go now.
func (r *Reconciler) pace() time.Duration {
	reservation := r.Pace.ReserveN(r.Clock.Now(), 1)
	if wait := reservation.DelayFrom(r.Clock.Now()); wait > 0 {
		reservation.CancelAt(r.Clock.Now())
		return wait
	}
	return 0
}

// setReason remembers why a VIP moves, for its status.
func (r *Reconciler) setReason(vip, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reasons == nil {
		r.reasons = map[string]string{}
	}
	r.reasons[vip] = why
}

// warnStandbys tells about annotations that can't be followed, and about standbys that aren't replaced for now.
func (r *Reconciler) warnStandbys(s place.Subject, v failover.View) {
	for _, service := range s.Services() {
		r.warn(service, s.VIP.Name, v)
	}
}

func (r *Reconciler) warn(service *corev1.Service, vip string, v failover.View) {
	_, standbys := askedStandbys(service, 0)
	for _, asked := range []struct{ about, action, mistake string }{{"standbys", "Protect", standbys}, {"handoff", "HandOff", mistakenHandoff(service)}} {
		if asked.mistake == "" {
			r.Teller.Settle(service.UID, asked.about)
			continue
		}
		r.Teller.TellOnce(service, asked.about, serving.Event{Warning: true, Reason: "InvalidRequest", Action: asked.action, Note: asked.mistake})
	}
	if ok, _, message := failover.Guarded(v); v.Hold && !ok {
		r.Teller.TellOnce(service, "hold/"+vip, serving.Event{Warning: true, Reason: "ReplacementHeld", Action: "Protect",
			Note: fmt.Sprintf("More than half of the nodes fell silent at once, which is more likely the network than the nodes: standbys are not replaced for up to a minute (%s)", message)})
	} else {
		r.Teller.Settle(service.UID, "hold/"+vip)
	}
}

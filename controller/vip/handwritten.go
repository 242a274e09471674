package vip

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
)

// handWritten looks after a VIP without a VIP object: placeholders that people wrote, in a Pod or in a Deployment. It makes the
// standbys that they ask for, and tells all of them of each other and whose turn it is, so that a Deployment's next pod takes the
// VIP over as in any planned move. It never deletes what people wrote.
//
// There is no VIP object for it: that would be a second truth beside the pods, with an end of its own to agree on. Guards are owned
// by the pod that they stand by for, hence they end when it does.
func (r *Reconciler) handWritten(ctx context.Context, name string) (time.Duration, error) {
	places, err := r.Keeper.Places(ctx, &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil {
		return 0, err
	}
	g := sortGuests(places.HandWritten)
	r.remember(name, len(g.all()) > 0)
	if g.live == nil {
		return 0, nil // the garbage collector ends its guards, unless another one comes before
	}
	parsed, err := placeholder.Parse(g.live)
	if err != nil {
		return 0, nil // the scheduler's event says what is wrong with it
	}
	if r.refusedAddress(g.live, parsed) {
		return 0, nil
	}
	view, again := r.guestView(g, parsed)
	decision := failover.Decide(view)
	for _, node := range slices.Sorted(maps.Keys(decision.Suspect)) {
		if view.Live.Superseded > 0 && node == view.Live.Node {
			continue // it lives, and has given way to the guard
		}
		if err := r.Suspects.Mark(ctx, node, decision.Suspect[node]); err != nil {
			return 0, err
		}
	}
	list := g.places().Succession(vipOf(parsed), r.Keeper.Nodes(ctx))
	if decision.Promote == "" && !decision.CreateActive {
		if err := r.guard(ctx, g, list, decision); err != nil {
			return 0, err
		}
	}
	return sooner(decision.Again, again), r.tellGuests(ctx, g, list, decision.NewTerm || g.goesBack(view))
}

// guard makes guards and ends those of no more use. Roles never change here: a guard that took over keeps the VIP until the pod
// that people wrote can have it again.
func (r *Reconciler) guard(ctx context.Context, g guests, list []placeholder.Peer, d failover.Decision) error {
	if d.CreateStandbys > 0 { // one at a time: its watch brings the next turn
		if err := r.Keeper.CreateGuard(ctx, g.live, g.names, list); err != nil {
			r.Teller.TellOnce(g.live, "placeholder", serving.Event{Warning: true, Reason: "NoPlaceholder", Action: "Protect", Note: err.Error() + ". It is tried again by itself"})
			return err
		}
	}
	byName := map[string]*corev1.Pod{}
	for _, pod := range g.standbys {
		byName[pod.Name] = pod
	}
	for _, name := range slices.Sorted(maps.Keys(d.Delete)) {
		pod := byName[name]
		if pod == nil || !place.IsGuard(pod) || pod.DeletionTimestamp != nil && !d.Delete[name] {
			continue
		}
		options := []client.DeleteOption{client.Preconditions{UID: &pod.UID}}
		if d.Delete[name] {
			options = append(options, client.GracePeriodSeconds(0))
		}
		if err := r.Client.Delete(ctx, pod.DeepCopy(), options...); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("deleting standby %s: %w", pod.Name, err)
		}
	}
	return nil
}

// tellGuests tells who has a place. The guards come first: they must know the one that they are to hear.
func (r *Reconciler) tellGuests(ctx context.Context, g guests, list []placeholder.Peer, newTerm bool) error {
	term := g.liveTerm(newTerm)
	for _, pod := range g.standbys {
		if err := r.Keeper.TellHandWritten(ctx, pod, term, list, g.live); err != nil {
			return err
		}
	}
	for i, pod := range g.coming {
		if err := r.Keeper.TellHandWritten(ctx, pod, term+int64(i)+1, list, nil); err != nil {
			return err
		}
	}
	if err := r.Keeper.TellHandWritten(ctx, g.live, term, list, nil); err != nil {
		return err
	}
	for _, pod := range g.others {
		if err := r.Keeper.TellHandWritten(ctx, pod, 0, list, nil); err != nil {
			return err
		}
	}
	return nil
}

// guestView is the VIP as the decisions about its standbys need it.
func (r *Reconciler) guestView(g guests, parsed placeholder.Placeholder) (failover.View, time.Duration) {
	now := r.Clock.Now()
	nodes := r.Nodes.Fleet(now)
	needs := place.NeedsOfPod(place.Guard(g.live, place.Look{}, 1, nil))
	v := failover.View{Nodes: nodes.For(fleet.Demand{
		Addresses: parsed.Addresses, Interfaces: parsed.Interfaces, Tolerations: needs.Tolerations, Nodes: &needs.Nodes,
	})}
	var mistake string
	if v.Wanted, mistake = guardsWanted(g.live); mistake != "" {
		r.Teller.TellOnce(g.live, "standbys", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Protect", Note: mistake})
	} else {
		r.Teller.Settle(g.live.UID, "standbys")
	}
	v.Wanted = g.room(v.Nodes, v.Wanted)
	again := nodes.NextChange()
	if left, hold := nodes.Hold(); hold {
		v.Hold = true
		again = sooner(again, left)
	}
	live := podOf(g.live, now)
	v.Live = &live
	if live.Superseded > 0 {
		again = sooner(again, max(returnAfter-live.Superseded, time.Second))
	}
	for _, pod := range g.standbys {
		v.Standbys = append(v.Standbys, podOf(pod, now))
	}
	for _, pod := range slices.Concat(g.others, g.ended) {
		if pod.Spec.NodeName != "" {
			v.Ending = append(v.Ending, pod.Spec.NodeName)
		}
	}
	return v, again
}

// refusedAddress tells the writer of a placeholder whose address can't be a VIP whatever node it is on.
func (r *Reconciler) refusedAddress(pod *corev1.Pod, parsed placeholder.Placeholder) bool {
	for _, addr := range parsed.Addresses {
		if r.Ledger.IsAPIServer(addr) {
			r.Teller.TellOnce(pod, "address", serving.Event{Warning: true, Reason: "AddressRefused", Action: "Announce",
				Note: fmt.Sprintf("%s is where this cluster's API server is reached (Service default/kubernetes): announced from a node it would cut the cluster off. Take another address", addr)})
			return true
		}
	}
	r.Teller.Settle(pod.UID, "address")
	return false
}

// remember keeps the names of the VIPs that people wrote placeholders for, as changes of nodes matter to them, too.
func (r *Reconciler) remember(name string, there bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !there {
		delete(r.guests, name)
		return
	}
	if r.guests == nil {
		r.guests = map[string]bool{}
	}
	r.guests[name] = true
}

// HandWritten names the VIPs that have placeholders written by hand and no VIP object.
func (r *Reconciler) HandWritten() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.guests))
}

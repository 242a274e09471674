package agent

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/api/placeholder"
)

// PodChanged tells what the API has for a pod on this node.
func (a *Agent) PodChanged(ctx context.Context, pod *corev1.Pod) {
	if !placeholder.Is(pod) {
		a.PodGone(ctx, pod)
		return
	}
	a.inbox.send(func() {
		read, mistake := placeholder.Parse(pod)
		a.opts.Pods.Observe(pod)
		touched := a.desired.set(read, mistake)
		if mistake != nil {
			klog.FromContext(ctx).Info("A placeholder can't be read", "pod", klog.KObj(pod), "err", mistake)
		}
		a.reportPod(pod.UID)
		a.heed(ctx, touched)
	})
}

// PodGone tells that the API no longer has a pod.
func (a *Agent) PodGone(ctx context.Context, pod *corev1.Pod) {
	uid := pod.UID
	a.inbox.send(func() {
		a.opts.Pods.Forget(uid)
		a.heed(ctx, a.desired.remove(uid))
	})
}

// Synced tells that the API's list is complete: only now may anything be removed that it doesn't name.
func (a *Agent) Synced(ctx context.Context) {
	a.inbox.send(func() {
		if a.synced {
			return
		}
		a.synced = true
		all := map[netip.Addr]bool{}
		for addr := range a.places {
			all[addr] = true
		}
		for _, v := range a.desired.pods {
			for _, addr := range v.placeholder.Addresses {
				all[addr] = true
			}
		}
		for addr := range all {
			a.heedOne(ctx, addr)
		}
		a.removeLeftovers(ctx)
	})
}

// heed tells the places of some addresses what the API wants of them now.
func (a *Agent) heed(ctx context.Context, addrs []netip.Addr) {
	if !a.synced {
		return
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	for _, addr := range slices.Compact(addrs) {
		a.heedOne(ctx, addr)
	}
}

func (a *Agent) heedOne(ctx context.Context, addr netip.Addr) {
	p := a.place(addr)
	if owner, ok := a.desired.owner(addr); ok {
		if p.owner.UID != owner.UID || p.owner.Term != owner.Term || p.owner.Role != owner.Role || p.owner.NoHandoff != owner.NoHandoff || !reflect.DeepEqual(p.owner.Peers, owner.Peers) {
			a.dirty = true
		}
		p.owner = owner
	}
	a.carryOut(ctx, addr, p.SetWish(a.desired.wish(addr), a.opts.Clock.Now()))
	a.setGuard(ctx) // the Service's ports may have changed
}

// NICsChanged tells which NICs there are.
func (a *Agent) NICsChanged(ctx context.Context, nics []nic.NIC) {
	a.inbox.send(func() {
		a.nics, a.moved = nics, true
		a.opts.Wire.SetNICs(ctx, nics)
		a.opts.Watch.SetNICs(ctx, nics)
		for addr, p := range a.places {
			if on, ok := a.nicNamed(p.NIC().Name); ok {
				if effects := p.SetMAC(macOf(on)); len(effects) > 0 {
					a.carryOut(ctx, addr, effects)
				}
			}
			a.carryOut(ctx, addr, p.NICsChanged(a.usable, a.opts.Clock.Now()))
		}
		a.setGuard(ctx) // a NIC that was taken out and put back has another index
	})
}

// usable says whether a NIC of this name is there and has a carrier.
func (a *Agent) usable(name string) bool {
	on, ok := a.nicNamed(name)
	return ok && on.Carrier
}

// AddressEvent tells what became of a bound address without our doing.
func (a *Agent) AddressEvent(ctx context.Context, event address.Event) {
	a.inbox.send(func() {
		p, ok := a.places[event.Addr]
		if !ok {
			return
		}
		now := a.opts.Clock.Now()
		switch event.Kind {
		case address.LostEvent:
			a.opts.Metrics.Losses.WithLabelValues(string(event.Reason)).Inc()
			a.logger(ctx, event.Addr).Info("Lost an address", "reason", event.Reason)
			a.dirty = true
			a.carryOut(ctx, event.Addr, p.Lost(now))
		case address.SuspendedEvent:
			// What somebody deleted is back in milliseconds; only the wait for the NIC's own address takes long.
			if event.Reason == address.NoNodeAddress {
				a.logger(ctx, event.Addr).Info("An address waits until the interface has its own again")
				a.carryOut(ctx, event.Addr, p.Missing(true))
				a.carryOut(ctx, event.Addr, p.NICsChanged(a.usable, now)) // which may have told so before
			}
		case address.RestoredEvent:
			a.opts.Metrics.Restores.Inc()
			a.logger(ctx, event.Addr).Info("Restored an address that somebody deleted", "took", event.Took)
			a.carryOut(ctx, event.Addr, p.Missing(false))
		}
	})
}

// Heard tells of a frame about an address by a machine that isn't this one.
func (a *Agent) Heard(ctx context.Context, addr netip.Addr, said place.Said) {
	a.inbox.send(func() {
		p, ok := a.places[addr]
		if !ok {
			return
		}
		before, unsure := p.State(), p.Unsure()
		effects := p.Heard(said, a.opts.Clock.Now())
		if unsure && len(effects) > 0 {
			a.heal()
		}
		switch {
		case before == place.Held && p.State() != place.Held:
			a.opts.Metrics.Superseded.Inc()
			a.logger(ctx, addr).Info("Another node has claimed the address by a higher title, giving way", "mac", said.From, "title", said.Title)
		case before == place.Held && p.Contested() == said.From:
			a.opts.Metrics.Conflicts.Inc()
			a.logger(ctx, addr).Info("Another machine claims an address that is ours", "mac", said.From)
		case before == place.Lingering && p.State() != place.Lingering:
			a.logger(ctx, addr).Info("The successor has claimed the address", "mac", said.From)
		}
		a.carryOut(ctx, addr, effects)
	})
}

// report brings the conditions of every placeholder that names an address up to date.
func (a *Agent) report(addr netip.Addr) {
	for uid, v := range a.desired.pods {
		if slices.Contains(v.placeholder.Addresses, addr) {
			a.reportPod(uid)
		}
	}
}

func (a *Agent) reportPod(uid types.UID) {
	v, ok := a.desired.pods[uid]
	if !ok || v.placeholder.Ending && !v.placeholder.Release {
		return
	}
	switch {
	case v.mistake != nil && !v.valid:
		a.opts.Pods.Set(uid, report.Condition{Reason: placeholder.ReasonInvalid, Message: v.mistake.Error()}, 0)
		return
	case !a.synced || v.placeholder.Release:
		return
	}
	var reports []place.Report
	for _, addr := range v.placeholder.Addresses {
		p, ok := a.places[addr]
		if !ok {
			return // not followed yet
		}
		if p.owner.UID != uid {
			a.opts.Pods.Set(uid, report.Condition{
				Reason: placeholder.ReasonSuperseded, Message: fmt.Sprintf("placeholder %s holds %s", p.owner.Pod, addr),
			}, 0)
			return
		}
		reports = append(reports, p.Report())
	}
	summary := summarize(reports)
	if summary.Reason == placeholder.ReasonProbing || summary.Reason == placeholder.ReasonNotHeard || summary.Reason == placeholder.ReasonNothingToGuard {
		a.opts.Pods.Set(uid, summary, probingGrace)
		return
	}
	a.opts.Pods.Set(uid, summary, 0)
}

// summarize says in one condition how the addresses of a VIP are: it is announced, or guarded, when all of them are, and the first one that
// isn't, or that somebody contests, speaks for it.
func summarize(reports []place.Report) report.Condition {
	var announcing []string
	for _, r := range reports {
		if !r.Ready {
			return report.Condition{Reason: string(r.Reason), Message: r.Message}
		}
	}
	for _, r := range reports {
		if !r.Announced {
			return report.Condition{Ready: true, Reason: string(r.Reason), Message: r.Message}
		}
	}
	for _, r := range reports {
		if r.Reason != place.ReasonAnnouncing {
			return report.Condition{Ready: true, Announced: true, Reason: string(r.Reason), Message: r.Message}
		}
		announcing = append(announcing, r.Message)
	}
	return report.Condition{Ready: true, Announced: true, Reason: string(place.ReasonAnnouncing), Message: strings.Join(announcing, ", ")}
}

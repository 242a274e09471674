package service

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
	"evenkeel.io/evenkeel/controller/vip"
)

// outcome is what a reconciliation has decided.
type outcome struct {
	plan
	// given are the VIPs that the Service was given this time.
	given []given
	// invalid says what of the Service can't be read. It keeps what it has.
	invalid error
	// refused says why the Service can't have what it needs.
	refused *ipam.Refusal
	// forming: what the Service may share is being created.
	forming bool
	retry   time.Duration
}

// formingDelay is how long the creation of a VIP takes, that another Service waits for to share it.
const formingDelay = 20 * time.Millisecond

// plan plans with what the ledger knows now.
func (r *Reconciler) plan(service *corev1.Service, w wish, taker ledger.Taker) plan {
	return planFor(w, r.vipsOf(service), func(v *v1alpha1.VIP) string { return r.Ledger.Collision(v, taker) })
}

// vipsOf lists the VIPs that a Service has.
func (r *Reconciler) vipsOf(service *corev1.Service) []*v1alpha1.VIP {
	return slices.DeleteFunc(r.Ledger.VIPsOf(service.UID), func(v *v1alpha1.VIP) bool {
		return v.DeletionTimestamp != nil || v.Spec.ReleasedAt != nil
	})
}

// addressesOf lists the addresses of these.
func (r *Reconciler) addressesOf(service *corev1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, v := range r.vipsOf(service) {
		addrs = append(addrs, ledger.Addresses(v)...)
	}
	return addrs
}

// count reads how many addresses of each family the Service asks for. Where that can't be read, it keeps those that it has.
func (r *Reconciler) count(service *corev1.Service) int {
	n, err := place.VIPs(service)
	if err == nil {
		r.Teller.Settle(service.UID, "vips")
		return n
	}
	r.Teller.TellOnce(service, "vips", serving.Event{Warning: true, Reason: "InvalidRequest", Action: "Allocate",
		Note: err.Error() + ". The Service gets one address of each family; one that has several keeps them"})
	have := map[ipam.Family]int{}
	for _, addr := range r.addressesOf(service) {
		have[ipam.FamilyOf(addr)]++
	}
	return max(n, have[ipam.IPv4], have[ipam.IPv6])
}

// carryOut does what was decided. What a new VIP needs is done all at once: its placeholder, the ingress, an event. What the Service
// had before goes last.
func (r *Reconciler) carryOut(ctx context.Context, service *corev1.Service, o outcome) (time.Duration, error) {
	r.explain(service, o)
	together, inner := errgroup.WithContext(ctx)
	for _, got := range o.given {
		if !got.joined {
			together.Go(func() error { return r.first(inner, service, got.VIP) })
		}
	}
	var wait time.Duration
	together.Go(func() (err error) {
		wait, err = r.write(inner, service, o)
		return err
	})
	if err := together.Wait(); err != nil {
		return 0, err
	}
	for _, v := range r.vipsOf(service) {
		if err := r.weigh(ctx, service, v); err != nil {
			return 0, client.IgnoreNotFound(err)
		}
	}
	leave := o.leave
	if wait > 0 || o.invalid != nil { // what the ingress still shows stays, except where it is another Service's
		leave = collided(o.collisions)
	}
	for _, v := range leave {
		if _, err := vip.Leave(ctx, r.Client, r.Ledger, v, r.Clock.Now(), service.UID); err != nil {
			return 0, client.IgnoreNotFound(err)
		}
	}
	return sooner(wait, o.retry), nil
}

// first makes the first placeholder of a VIP that is the Service's own.
func (r *Reconciler) first(ctx context.Context, service *corev1.Service, v *v1alpha1.VIP) error {
	pool, err := r.pool(ctx, v.Spec.Pool)
	if err != nil {
		return err
	}
	return r.Keeper.First(ctx, place.Subject{VIP: v, Service: service, Pool: pool})
}

// explain tells the Service's owner what was decided.
func (r *Reconciler) explain(service *corev1.Service, o outcome) {
	key := client.ObjectKeyFromObject(service)
	reason, message := o.waitsFor()
	switch {
	case o.forming:
		r.setPending(key, lacking)
	case reason != "":
		r.setPending(key, lacking)
		r.Teller.TellOnce(service, "wish", serving.Event{Warning: true, Reason: reason, Action: "Allocate", Note: message})
	case o.need != nil:
		r.setPending(key, hoping)
		r.Teller.Settle(service.UID, "wish")
	default:
		r.setPending(key, nothing)
		r.Ledger.Unreserve(service.UID)
		r.Teller.Settle(service.UID, "wish")
	}
	if len(o.collisions) == 0 {
		r.Teller.Settle(service.UID, "sharing")
	}
	for _, c := range o.collisions {
		r.Teller.TellOnce(service, "sharing", serving.Event{Warning: true, Reason: string(ipam.NotShareable), Action: "Allocate", Related: c.vip,
			Note: fmt.Sprintf("%s can't be shared any longer: %s. It stays with that Service, and this one leaves it", placeholder.FormatAddresses(ledger.Addresses(c.vip)), c.why)})
	}
	for _, got := range o.given {
		event := serving.Event{Reason: "Allocated", Action: "Allocate", Related: got.VIP,
			Note: fmt.Sprintf("Allocated %s from VIPPool %s", placeholder.FormatAddresses(ledger.Addresses(got.VIP)), got.Spec.Pool)}
		if got.joined {
			event.Note = fmt.Sprintf("Allocated %s, which is shared with other Services of the same key", placeholder.FormatAddresses(ledger.Addresses(got.VIP)))
		}
		r.Teller.Tell(service, event)
	}
}

// waitsFor says why the Service lacks an address that it needs; empty: it doesn't.
func (o outcome) waitsFor() (reason, message string) {
	switch {
	case o.invalid != nil:
		return "InvalidRequest", o.invalid.Error()
	case o.refused != nil && !o.need.hoped:
		return string(o.refused.Reason), o.refused.Message
	default:
		return "", ""
	}
}

// write brings the Service's status in line by one request: the ingress, and the condition, as far as the VIPs are known to be announced
// or not. It returns after how long to try again, because the ingress was written a moment ago.
func (r *Reconciler) write(ctx context.Context, service *corev1.Service, o outcome) (wait time.Duration, err error) {
	reason, message := o.waitsFor()
	if len(o.serve) == 0 && reason != "" {
		err = r.waitingCondition(ctx, service, reason, message, len(o.collisions) > 0)
		return 0, err
	}
	change := !isIngress(service, o.serve) && (len(o.serve) > 0 || len(o.collisions) > 0)
	now := r.Clock.Now()
	if change {
		if wait = r.holdBack(service, now); wait > 0 {
			return wait, nil
		}
	}
	wrote, err := r.Statuses.Patch(ctx, service, func(status *corev1.ServiceStatus) {
		if change {
			serving.SetIngress(status, o.serve)
		}
		if said, ok := serving.Announcement(r.vipsOf(service)); ok {
			serving.SetAnnounced(status, said.Status, said.Reason, said.Message, said.LastTransitionTime)
		}
	})
	if wrote && change {
		r.mu.Lock()
		if r.written == nil {
			r.written = map[types.UID]ingress{}
		}
		r.written[service.UID] = ingress{now, o.serve}
		r.mu.Unlock()
	}
	return 0, err
}

// holdBack returns how long an ingress that isn't what we last wrote stays that, so that another writer can't draw us into a race.
func (r *Reconciler) holdBack(service *corev1.Service, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, ok := r.written[service.UID]
	if !ok || len(service.Status.LoadBalancer.Ingress) == 0 || isIngress(service, last.addrs) {
		return 0
	}
	return max(0, correctionInterval-now.Sub(last.at))
}

// sooner returns the shorter of two delays, of which 0 means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

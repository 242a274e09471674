package main

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"time"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/agent"
	"evenkeel.io/evenkeel/announcer/dataplane"
	"evenkeel.io/evenkeel/announcer/guard"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/protect"
	"evenkeel.io/evenkeel/announcer/quiet"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/api/version"
)

// protectLonger is how much longer the protection of an address lasts than the address that a stopped announcer left.
const protectLonger = 10 * time.Second

// kernel is the side of the announcer that deals with this machine: addresses, interfaces, nftables, kube-proxy's health.
type kernel struct {
	binder  *address.Binder
	nics    *nic.Watcher
	table   *protect.Table
	arp     *quiet.Table // nil: other NICs may answer for the VIPs of one
	guard   *guard.Guard
	handoff *connections // nil: nothing is handed on
	traffic *measuring   // nil: nothing is measured
	checker *dataplane.Checker

	// Both are set by connect, before anything runs.
	node *agent.Agent
	api  *api
}

func newKernel(ctx context.Context, opts *options, api *api) (*kernel, error) {
	k := &kernel{api: api}
	filter, err := nic.ParseFilter(opts.interfaces)
	if err != nil {
		return nil, err
	}
	if k.nics, err = nic.NewWatcher(nic.Options{Filter: filter, Notify: func(nics []nic.NIC) { k.nicsChanged(ctx, nics) }}); err != nil {
		return nil, err
	}
	k.binder, err = address.New(address.Options{
		Lifetime: opts.lifetime, RenewEvery: opts.lifetime / 3, BeforeRenewal: address.StallHook(),
		Notify: func(event address.Event) { k.node.AddressEvent(ctx, event) },
	})
	if err != nil {
		return nil, errors.Join(err, k.nics.Close())
	}
	if err := k.openGuard(ctx, opts); err != nil {
		return nil, errors.Join(err, k.binder.Close(), k.nics.Close())
	}
	if k.handoff, err = openHandoff(ctx, opts, k.condition); err != nil {
		return nil, errors.Join(err, k.binder.Close(), k.nics.Close())
	}
	if k.traffic, err = openTraffic(ctx, opts, api, k.nics.Snapshot, k.condition); err != nil {
		return nil, errors.Join(err, k.binder.Close(), k.nics.Close())
	}
	if opts.healthCheck != "" {
		k.checker, err = dataplane.NewChecker(dataplane.Options{URL: opts.healthCheck, Notify: k.healthChanged})
		if err != nil {
			return nil, errors.Join(err, k.binder.Close(), k.nics.Close())
		}
	} else {
		k.condition(v1alpha1.NodeDataPlaneHealthy, metav1.ConditionTrue, dataplane.ReasonNotChecked, dataplane.Flag+" is empty")
	}
	api.vipNode.Update(func(status *v1alpha1.VIPNodeStatus) { status.Version = version.String() })
	return k, nil
}

func (k *kernel) openGuard(ctx context.Context, opts *options) error {
	timeout := opts.handoverLifetime + protectLonger
	k.openARP(ctx, timeout)
	if !opts.protect {
		k.guard = k.unprotected(timeout)
		k.condition(v1alpha1.NodeProtected, metav1.ConditionFalse, "TurnedOff", "--protect=false: the node's own listeners can be reached through its VIPs")
		return nil
	}
	table, err := protect.New(protect.Options{Timeout: timeout})
	if err == nil {
		err = table.Open(ctx)
	}
	if err != nil {
		// Announcing goes on: a VIP that isn't shielded beats a VIP that is gone, and the condition says so.
		klog.FromContext(ctx).Error(err, "VIPs are not protected, the node's own listeners can be reached through them")
		k.guard = k.unprotected(timeout)
		k.condition(v1alpha1.NodeProtected, metav1.ConditionFalse, "Unsupported", err.Error())
		return nil
	}
	k.table = table
	k.guard = guard.New(tables{protect: table, arp: k.arp}, timeout/4, func(err error) {
		if err != nil {
			k.condition(v1alpha1.NodeProtected, metav1.ConditionFalse, "Failed", err.Error())
			return
		}
		k.condition(v1alpha1.NodeProtected, metav1.ConditionTrue, "Protected", "only the Services' ports and ICMP reach the VIPs")
	})
	k.condition(v1alpha1.NodeProtected, metav1.ConditionTrue, "Protected", "only the Services' ports and ICMP reach the VIPs")
	return nil
}

func (k *kernel) connect(ctx context.Context, node *agent.Agent) {
	k.node = node
	k.nicsChanged(ctx, k.nics.Snapshot())
}

func (k *kernel) nicsChanged(ctx context.Context, nics []nic.NIC) {
	k.node.NICsChanged(ctx, nics)
	interfaces := make([]v1alpha1.NodeInterface, 0, len(nics))
	for _, n := range nics {
		one := v1alpha1.NodeInterface{Name: n.Name, MAC: n.MAC.String(), Carrier: n.Carrier, SpeedMbps: n.SpeedMbps}
		for _, prefix := range n.Addresses {
			one.Addresses = append(one.Addresses, prefix.String())
		}
		interfaces = append(interfaces, one)
	}
	k.api.vipNode.Update(func(status *v1alpha1.VIPNodeStatus) { status.Interfaces = interfaces })
}

func (k *kernel) healthChanged(health dataplane.Health) {
	status := metav1.ConditionTrue
	if !health.Healthy {
		status = metav1.ConditionFalse
	}
	k.condition(v1alpha1.NodeDataPlaneHealthy, status, health.Reason, health.Message)
}

func (k *kernel) condition(kind string, status metav1.ConditionStatus, reason, message string) {
	k.api.vipNode.Update(func(s *v1alpha1.VIPNodeStatus) {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
	})
}

// hostServed: in IPVS mode kube-proxy takes packets for a VIP on their way to the host itself, not by DNAT.
func (k *kernel) hostServed() bool { return dataplane.DetectIPVS("/").Present }

// followIPVS shows in a condition, and in the log, whether this node answers ARP for VIPs that others announce.
func (k *kernel) followIPVS(ctx context.Context) error {
	return dataplane.FollowIPVS(ctx, "/", clock.RealClock{}, func(found dataplane.IPVS) {
		ok, reason, message := found.Condition()
		status := metav1.ConditionTrue
		if !ok {
			status = metav1.ConditionFalse
			klog.FromContext(ctx).Info("This node answers ARP for VIPs that other nodes announce", "reason", message)
		}
		k.condition(v1alpha1.NodeStrictARP, status, reason, message)
	})
}

func (k *kernel) runChecker(ctx context.Context) error {
	if k.checker == nil {
		<-ctx.Done()
		return nil
	}
	return k.checker.Run(ctx)
}

// leave makes what is bound last until the next process takes over.
func (k *kernel) leave(ctx context.Context, lifetime time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	logger := klog.FromContext(ctx)
	if k.table != nil {
		if err := k.table.Renew(ctx); err != nil {
			logger.Error(err, "Renewing the VIPs' protection for the next process failed")
		}
	}
	if k.arp != nil {
		if err := k.arp.Renew(ctx); err != nil {
			logger.Error(err, "Renewing for the next process what keeps other interfaces from answering for the VIPs failed")
		}
	}
	if k.handoff != nil {
		if err := k.handoff.table.Renew(ctx); err != nil {
			logger.Error(err, "Renewing what is handed on for the next process failed")
		}
	}
	if k.api.vipNode.Removed(ctx) {
		// No next process is meant to come, and other nodes get the VIPs now: with a longer lifetime two would have them for as long.
		logger.Info("This node's VIPNode was deleted: its addresses end with their present lifetime")
		return
	}
	if err := k.binder.ExtendAll(ctx, lifetime); err != nil {
		logger.Error(err, "Extending the addresses' lifetimes for the next process failed")
	}
}

func (k *kernel) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	var err error
	if k.table != nil {
		err = k.table.Close(ctx)
	}
	if k.arp != nil {
		err = errors.Join(err, k.arp.Close(ctx))
	}
	if k.handoff != nil {
		err = errors.Join(err, k.handoff.table.Close(ctx))
	}
	if k.traffic != nil {
		err = errors.Join(err, k.traffic.table.Close(ctx))
	}
	if err = errors.Join(err, k.binder.Close(), k.nics.Close()); err != nil {
		klog.FromContext(ctx).Error(fmt.Errorf("closing: %w", err), "Not everything was closed")
	}
}

package main

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/dataplane"
	"evenkeel.io/evenkeel/announcer/handoff"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/relay"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// condition sets one of the VIPNode's.
type condition func(kind string, status metav1.ConditionStatus, reason, message string)

// connections are what is handed on of VIPs that move here, and what the VIPNode says about that.
type connections struct {
	table *handoff.Table
	relay *relay.Relay
	say   condition

	mu      sync.Mutex
	proxy   dataplane.Proxy // empty before it was looked for
	failure error           // of the last try
}

// openHandoff takes over what an earlier process handed on. It returns nil where that is turned off or the kernel can't do it: moves
// go on, and reset connections.
func openHandoff(ctx context.Context, opts *options, say condition) (*connections, error) {
	if !opts.handoff {
		say(v1alpha1.NodeHandoff, metav1.ConditionFalse, "TurnedOff", "--handoff=false: planned moves reset established connections")
		return nil, nil
	}
	timeout := opts.handoverLifetime + protectLonger
	table, err := handoff.New(handoff.Options{Timeout: timeout, Idle: opts.handoffLimits.Idle})
	if err != nil {
		return nil, err
	}
	core, err := handoff.NewCore(opts.nodeName, opts.handoffLimits)
	if err != nil {
		return nil, err
	}
	state, err := table.Open(ctx)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Connections are not handed on, planned moves to this node reset them")
		say(v1alpha1.NodeHandoff, metav1.ConditionFalse, "Unsupported", err.Error())
		return nil, nil
	}
	c := &connections{table: table, say: say}
	c.relay = relay.New(relay.Options{
		Table: table, Core: core, RenewEvery: timeout / 4, Unreachable: nic.Unreachable, Clock: clock.RealClock{}, Notify: c.tried,
	}, state)
	return c, nil
}

// handler is what the agent asks; nil where nothing is handed on.
func (c *connections) handler() *relay.Relay {
	if c == nil {
		return nil
	}
	return c.relay
}

// followProxy hands connections on only beside a kube-proxy whose conntrack entries serve them.
func (c *connections) followProxy(ctx context.Context) error {
	if c == nil {
		<-ctx.Done()
		return nil
	}
	return dataplane.FollowProxy(ctx, "/", clock.RealClock{}, func(found dataplane.Proxy) {
		why := ""
		if !found.Translates() {
			_, why = found.Condition()
			klog.FromContext(ctx).Info("Connections are not handed on, planned moves to this node reset them", "reason", why)
		}
		c.relay.TurnOff(ctx, why)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.proxy = found
		c.report()
	})
}

// tried is told what came of each change of the tables.
func (c *connections) tried(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (err == nil) == (c.failure == nil) {
		return
	}
	c.failure = err
	c.report()
}

// report says how it is. The caller holds mu.
func (c *connections) report() {
	switch reason, message := c.proxy.Condition(); {
	case c.failure != nil:
		c.say(v1alpha1.NodeHandoff, metav1.ConditionFalse, "Failed", c.failure.Error())
	case c.proxy == "":
	case c.proxy.Translates():
		c.say(v1alpha1.NodeHandoff, metav1.ConditionTrue, reason, message)
	default:
		c.say(v1alpha1.NodeHandoff, metav1.ConditionFalse, reason, message)
	}
}

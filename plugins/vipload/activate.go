package vipload

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/api/placeholder"
)

// How long changes are collected before pending placeholders are tried again.
const (
	// settleEndpoints: a rollout changes many EndpointSlices at once. Short, as a VIP may wait for it.
	settleEndpoints = 20 * time.Millisecond
	// settleNodes: when announcers come up together, after an installation or a power failure, the first to report would
	// get all the VIPs that wait. So their reports are waited for until there is none for a second, at most settleNodesMax.
	// New placeholders are not held up.
	settleNodes    = time.Second
	settleNodesMax = 5 * time.Second
)

// pendingIndex finds the placeholders that wait for a node, without a walk over all pods of the cluster.
const (
	pendingIndex = "evenkeel.io/pending"
	pendingKey   = "placeholder"
)

func indexPending(obj any) ([]string, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || !placeholder.Is(pod) || pod.Spec.NodeName != "" || placeholder.Ended(pod) {
		return nil, nil
	}
	return []string{pendingKey}, nil
}

// pendingIn returns the waiting placeholders of a pod indexer.
func pendingIn(indexer cache.Indexer) ([]*corev1.Pod, error) {
	objs, err := indexer.ByIndex(pendingIndex, pendingKey)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, obj := range objs {
		pods = append(pods, obj.(*corev1.Pod))
	}
	return pods, nil
}

// activator puts pending placeholders back into the scheduling queue after something outside the queue's sight has
// changed: a VIPNode, or the endpoints of a Service. It must be told after the store that Filter reads has changed. A pod
// whose scheduling cycle is under way is covered too: the queue notes the activation and tries it again.
type activator struct {
	queue   fwk.PodActivator
	pending func() ([]*corev1.Pod, error)
	clock   clock.Clock
	wake    chan struct{} // holds one token: there is something new

	mu sync.Mutex
	changes
}

// changes are what has been collected.
type changes struct {
	firstNode, lastNode time.Time // of the changes of VIPNodes; zero: none. Any placeholder may fit afterwards.
	firstService        time.Time
	services            map[types.NamespacedName]struct{}
}

// due returns when the changes of either kind are to be acted on; false where there are none.
func (c *changes) due() (nodes, services time.Time, anyNodes, anyServices bool) {
	nodes = c.lastNode.Add(settleNodes)
	if latest := c.firstNode.Add(settleNodesMax); latest.Before(nodes) {
		nodes = latest
	}
	return nodes, c.firstService.Add(settleEndpoints), !c.firstNode.IsZero(), len(c.services) > 0
}

func newActivator(queue fwk.PodActivator, pending func() ([]*corev1.Pod, error), clock clock.Clock) *activator {
	return &activator{queue: queue, pending: pending, clock: clock, wake: make(chan struct{}, 1)}
}

// nodeChanged says that a VIPNode has changed. It doesn't block.
func (a *activator) nodeChanged() {
	a.mu.Lock()
	a.lastNode = a.clock.Now()
	if a.firstNode.IsZero() {
		a.firstNode = a.lastNode
	}
	a.mu.Unlock()
	a.signal()
}

// endpointsChanged says that endpoints of a Service have changed. It doesn't block.
func (a *activator) endpointsChanged(service types.NamespacedName) {
	a.mu.Lock()
	if a.services == nil {
		a.firstService, a.services = a.clock.Now(), map[types.NamespacedName]struct{}{}
	}
	a.services[service] = struct{}{}
	a.mu.Unlock()
	a.signal()
}

func (a *activator) signal() {
	select {
	case a.wake <- struct{}{}:
	default: // a token is there already
	}
}

// run works until the context ends.
func (a *activator) run(ctx context.Context) {
	for {
		var due <-chan time.Time
		var timer clock.Timer
		if wait, ok := a.wait(); ok {
			timer = a.clock.NewTimer(wait)
			due = timer.C()
		}
		select {
		case <-ctx.Done():
		case <-a.wake: // the time may have moved
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
		a.flush(klog.FromContext(ctx))
	}
}

// wait returns how long until something is due; false when nothing is collected.
func (a *activator) wait() (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	nodes, services, anyNodes, anyServices := a.due()
	if !anyNodes || (anyServices && services.Before(nodes)) {
		nodes = services
	}
	return nodes.Sub(a.clock.Now()), anyNodes || anyServices
}

// take removes the changes that are due and returns them.
func (a *activator) take() (nodesChanged bool, changed map[types.NamespacedName]struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.Now()
	nodes, services, anyNodes, anyServices := a.due()
	if anyNodes && !now.Before(nodes) {
		nodesChanged = true
		a.firstNode, a.lastNode = time.Time{}, time.Time{}
	}
	if anyServices && !now.Before(services) {
		changed, a.services = a.services, nil
	}
	return nodesChanged, changed
}

// flush activates the placeholders that the changes which are due may help.
func (a *activator) flush(logger klog.Logger) {
	nodesChanged, services := a.take()
	if !nodesChanged && len(services) == 0 {
		return
	}
	pending, err := a.pending()
	if err != nil { // the index is gone: a mistake in the code; the queue itself tries unschedulable pods again after 5 minutes
		logger.Error(err, "Listing pending placeholders")
		return
	}
	pods := map[string]*corev1.Pod{}
	for _, pod := range pending {
		if nodesChanged || waitsFor(pod, services) {
			pods[klog.KObj(pod).String()] = pod
		}
	}
	if len(pods) == 0 {
		return
	}
	logger.V(2).Info("Trying pending placeholders again", "pods", len(pods), "nodesChanged", nodesChanged, "services", len(services))
	activatedPods.Add(float64(len(pods)))
	a.queue.Activate(logger, pods)
}

// waitsFor says whether a placeholder's node depends on the endpoints of one of the Services.
func waitsFor(pod *corev1.Pod, services map[types.NamespacedName]struct{}) bool {
	if len(services) == 0 {
		return false
	}
	p, err := placeholder.Parse(pod)
	if err != nil || !p.Local {
		return false
	}
	_, ok := services[p.Service]
	return ok
}

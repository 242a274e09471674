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

// settle is how long changes are collected before pending placeholders are tried again: a rollout changes many
// EndpointSlices at once, and a starting announcer fleet many VIPNodes. Short, as a VIP may wait for it.
const settle = 20 * time.Millisecond

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
	wake    chan struct{} // holds one token: there is something to do

	mu       sync.Mutex
	nodes    bool // a VIPNode has changed: any placeholder may fit now
	services map[types.NamespacedName]struct{}
}

func newActivator(queue fwk.PodActivator, pending func() ([]*corev1.Pod, error), clock clock.Clock) *activator {
	return &activator{
		queue: queue, pending: pending, clock: clock,
		wake:     make(chan struct{}, 1),
		services: map[types.NamespacedName]struct{}{},
	}
}

// nodeChanged says that a VIPNode has changed. It doesn't block.
func (a *activator) nodeChanged() {
	a.mu.Lock()
	a.nodes = true
	a.mu.Unlock()
	a.signal()
}

// endpointsChanged says that endpoints of a Service have changed. It doesn't block.
func (a *activator) endpointsChanged(service types.NamespacedName) {
	a.mu.Lock()
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
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-a.clock.After(settle):
		}
		a.flush(klog.FromContext(ctx))
	}
}

// flush activates what the changes collected so far may help.
func (a *activator) flush(logger klog.Logger) {
	a.mu.Lock()
	nodes, services := a.nodes, a.services
	a.nodes, a.services = false, map[types.NamespacedName]struct{}{}
	a.mu.Unlock()

	pending, err := a.pending()
	if err != nil { // the index is gone: a mistake in the code; the queue tries unschedulable pods again after 5 minutes
		logger.Error(err, "Listing pending placeholders")
		return
	}
	pods := map[string]*corev1.Pod{}
	for _, pod := range pending {
		if nodes || waitsFor(pod, services) {
			pods[klog.KObj(pod).String()] = pod
		}
	}
	if len(pods) == 0 {
		return
	}
	logger.V(2).Info("Trying pending placeholders again", "pods", len(pods), "nodesChanged", nodes, "services", len(services))
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

package vipload

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
)

// fakeQueue notes which pods are activated.
type fakeQueue struct {
	mu    sync.Mutex
	calls [][]string
}

func (q *fakeQueue) Activate(_ klog.Logger, pods map[string]*corev1.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, slices.Sorted(maps.Keys(pods)))
}

func (q *fakeQueue) taken() [][]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	calls := q.calls
	q.calls = nil
	return calls
}

func TestActivator(t *testing.T) {
	waiting := []*corev1.Pod{vipPod("plain", "192.0.2.10").Obj(), localPod("shop", "192.0.2.11", "web/shop").Obj(), localPod("blog", "192.0.2.12", "web/blog").Obj()}
	all := []string{"evenkeel-system/blog", "evenkeel-system/plain", "evenkeel-system/shop"}
	shop, cart := types.NamespacedName{Namespace: "web", Name: "shop"}, types.NamespacedName{Namespace: "web", Name: "cart"}

	type step struct {
		do   func(*activator)
		wait time.Duration
		want [][]string
	}
	node := func(a *activator) { a.nodeChanged() }
	slice := func(service types.NamespacedName) func(*activator) {
		return func(a *activator) { a.endpointsChanged(service) }
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"nothing happens without a change", []step{{wait: time.Hour}}},
		{"a VIPNode wakes every placeholder, after a second without another", []step{
			{do: node, wait: settleNodes - 1},
			{do: node, wait: settleNodes - 1},
			{wait: 1, want: [][]string{all}},
			{wait: time.Hour},
		}},
		{"VIPNodes that never rest wake them all the same", []step{
			{do: node, wait: 900 * time.Millisecond},
			{do: node, wait: 900 * time.Millisecond},
			{do: node, wait: 900 * time.Millisecond},
			{do: node, wait: 900 * time.Millisecond},
			{do: node, wait: 900 * time.Millisecond},
			{do: node, wait: 500 * time.Millisecond, want: [][]string{all}},
		}},
		{"endpoints wake only the placeholder of their Service, and soon", []step{
			{do: slice(shop), wait: settleEndpoints, want: [][]string{{"evenkeel-system/shop"}}},
		}},
		{"endpoints of a Service that nobody waits for wake nobody", []step{{do: slice(cart), wait: time.Hour}}},
		{"endpoints don't wait for VIPNodes, nor hurry them", []step{
			{do: node, wait: 10 * time.Millisecond},
			{do: slice(shop), wait: settleEndpoints, want: [][]string{{"evenkeel-system/shop"}}},
			{wait: settleNodes, want: [][]string{all}},
		}},
		{"endpoints that never rest are not put off", []step{
			{do: slice(shop), wait: settleEndpoints / 2},
			{do: slice(shop), wait: settleEndpoints / 2, want: [][]string{{"evenkeel-system/shop"}}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
			queue := &fakeQueue{}
			a := newActivator(queue, func() ([]*corev1.Pod, error) { return waiting, nil }, clock)
			for i, s := range tt.steps {
				if s.do != nil {
					s.do(a)
				}
				clock.Step(s.wait)
				a.flush(klogger)
				if diff := cmp.Diff(s.want, queue.taken()); diff != "" {
					t.Errorf("step %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

// The loop arms its timer at a change and ends with its context.
func TestActivatorRuns(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	activated := make(chan []*corev1.Pod, 1)
	queue := queueFunc(func(pods map[string]*corev1.Pod) { activated <- slices.Collect(maps.Values(pods)) })
	a := newActivator(queue, func() ([]*corev1.Pod, error) { return []*corev1.Pod{vipPod("p", "192.0.2.10").Obj()}, nil }, clock)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.run(ctx) })
	defer running.Wait()
	defer cancel()

	a.nodeChanged()
	for !clock.HasWaiters() { // the loop is about to wait; the test's own time limit ends this
		time.Sleep(time.Millisecond)
	}
	clock.Step(settleNodes)
	if pods := <-activated; len(pods) != 1 || pods[0].Name != "p" {
		t.Errorf("activated %v", pods)
	}
}

type queueFunc func(map[string]*corev1.Pod)

func (f queueFunc) Activate(_ klog.Logger, pods map[string]*corev1.Pod) { f(pods) }

func TestPendingAreOursAndUnbound(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{pendingIndex: indexPending})
	for _, pod := range []*corev1.Pod{
		vipPod("waits", "192.0.2.10").Obj(),
		vipPod("bound", "192.0.2.11").Node("n").Obj(),
		vipPod("deleted", "192.0.2.12").Terminating().Obj(),
		vipPod("failed", "192.0.2.13").Phase(corev1.PodFailed).Obj(),
		vipPod("foreign", "192.0.2.14").SchedulerName("default-scheduler").Obj(),
	} {
		if err := indexer.Add(pod); err != nil {
			t.Fatal(err)
		}
	}
	pods, err := pendingIn(indexer)
	if err != nil || len(pods) != 1 || pods[0].Name != "waits" {
		t.Errorf("got %v (%v), want the one that waits", pods, err)
	}
}

package setup

import (
	"context"
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// wake puts requests into a controller's queue from outside of watches. Before the controller has started there is no queue
// and nothing is kept: what is missed then is in the list that the source starts with, or comes by a watch.
type wake struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

func (w *wake) source(initial func() []reconcile.Request) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		w.mu.Lock()
		w.queue = queue
		w.mu.Unlock()
		if initial != nil {
			for _, request := range initial() {
				queue.Add(request)
			}
		}
		return nil
	})
}

func (w *wake) current() workqueue.TypedRateLimitingInterface[reconcile.Request] {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queue
}

func (w *wake) open() bool { return w.current() != nil }

func (w *wake) add(request reconcile.Request) {
	if queue := w.current(); queue != nil {
		queue.Add(request)
	}
}

func (w *wake) addAfter(request reconcile.Request, d time.Duration) {
	if queue := w.current(); queue != nil {
		queue.AddAfter(request, d)
	}
}

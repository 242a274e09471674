// Package follow tells of the placeholders on a node: the announcer's only watch.
package follow

import (
	"context"
	"fmt"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// An API server that is away is asked again after retryFirst, and in the end every retryMost to twice that. client-go's informers
// wait for 30 to 60 s, in which an outage that has ended goes on for us: placeholders that were replaced meanwhile are not known.
// Kubelets try every 10 s, so that we are no load beside them.
const (
	retryFirst = 500 * time.Millisecond
	retryMost  = 3 * time.Second
)

// Handler is told of pods. Its methods are called one after the other.
type Handler interface {
	// PodChanged tells of a new pod, or of what one has become.
	PodChanged(ctx context.Context, pod *corev1.Pod)
	// PodGone tells that the API no longer has a pod.
	PodGone(ctx context.Context, pod *corev1.Pod)
	// Synced tells, after each complete list, that all pods there are have been told of.
	Synced(ctx context.Context)
}

// Pods tells handler of all pods of a namespace on a node until ctx ends. While the API server is away it keeps trying, and tells
// nothing. The handler owns what it is given, but for what it was given before.
func Pods(ctx context.Context, client kubernetes.Interface, namespace, node string, handler Handler) {
	pods := client.CoreV1().Pods(namespace)
	here := fields.OneTermEqualSelector("spec.nodeName", node).String()
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = here
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = here
			return pods.Watch(ctx, options)
		},
	}
	backoff := &wait.Backoff{Duration: retryFirst, Cap: retryMost, Factor: 2, Jitter: 1, Steps: math.MaxInt32}
	reflector := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(source, client), &corev1.Pod{}, newStore(ctx, handler), cache.ReflectorOptions{
		Name: "placeholders of " + node, Backoff: backoff,
	})
	reflector.RunWithContext(ctx)
}

// store is what the reflector writes to: it keeps only which pods there are.
type store struct {
	ctx     context.Context
	handler Handler
	known   map[cache.ObjectName]*corev1.Pod
}

var _ cache.ReflectorStore = (*store)(nil)

func newStore(ctx context.Context, handler Handler) *store {
	return &store{ctx: ctx, handler: handler, known: map[cache.ObjectName]*corev1.Pod{}}
}

// Add tells of a pod, and of the end of another one that had its name.
func (s *store) Add(obj any) error {
	pod, err := podOf(obj)
	if err != nil {
		return err
	}
	name := cache.MetaObjectToName(pod)
	if before, ok := s.known[name]; ok && before.UID != pod.UID {
		s.handler.PodGone(s.ctx, before)
	}
	s.known[name] = pod
	s.handler.PodChanged(s.ctx, pod)
	return nil
}

// Update is Add.
func (s *store) Update(obj any) error { return s.Add(obj) }

// Delete tells that a pod is gone.
func (s *store) Delete(obj any) error {
	pod, err := podOf(obj)
	if err != nil {
		return err
	}
	delete(s.known, cache.MetaObjectToName(pod))
	s.handler.PodGone(s.ctx, pod)
	return nil
}

// Replace tells of a complete list: what isn't in it is gone.
func (s *store) Replace(list []any, _ string) error {
	listed := map[cache.ObjectName]bool{}
	for _, obj := range list {
		pod, err := podOf(obj)
		if err != nil {
			return err
		}
		listed[cache.MetaObjectToName(pod)] = true
	}
	for name, pod := range s.known {
		if !listed[name] {
			delete(s.known, name)
			s.handler.PodGone(s.ctx, pod)
		}
	}
	for _, obj := range list {
		if err := s.Add(obj); err != nil {
			return err
		}
	}
	s.handler.Synced(s.ctx)
	return nil
}

// Resync does nothing: the agent asks for nothing twice.
func (s *store) Resync() error { return nil }

func podOf(obj any) (*corev1.Pod, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("following placeholders: got %T, want a pod", obj)
	}
	pod.ManagedFields = nil // the largest part of a placeholder, and of no use here
	return pod, nil
}

// Package report writes to the API what an announcer sees: the conditions of its placeholders and its VIPNode. Nothing in it
// is waited for by what happens on the wire, and all of it catches up by itself after an outage of the API server.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/api/placeholder"
)

// Condition is what one placeholder's conditions should say.
type Condition struct {
	Ready     bool
	Announced bool
	Reason    string
	Message   string
}

// Pods writes the conditions of placeholders, coalescing what changes faster than the API server takes it.
// Its methods are safe for concurrent use.
type Pods struct {
	client corev1client.PodsGetter
	clock  clock.Clock
	queue  workqueue.TypedRateLimitingInterface[types.UID]

	mu   sync.Mutex
	pods map[types.UID]*podReport
}

type podReport struct {
	pod  types.NamespacedName
	want Condition
	// notBefore is when want may be written at the earliest.
	notBefore time.Time
	// written is when the last patch was sent.
	written time.Time
	// known is what the API server is known to hold, nil before the first report.
	known map[corev1.PodConditionType]corev1.PodCondition
	// seen counts what was observed, so that the answer to a patch doesn't undo newer news.
	seen int
}

// podWorkers bounds requests that are under way at once; a burst of new VIPs on a node is reported by so many in parallel.
const podWorkers = 4

// insistEvery is the pace at which what somebody else keeps changing is put right.
const insistEvery = time.Second

// NewPods returns a writer; Run does the work.
func NewPods(client corev1client.PodsGetter, clock clock.Clock) *Pods {
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](50*time.Millisecond, 5*time.Second)
	return &Pods{
		client: client, clock: clock,
		queue: workqueue.NewTypedRateLimitingQueue(limiter),
		pods:  map[types.UID]*podReport{},
	}
}

// Observe tells what conditions the API server holds for a pod. What differs from the last Set is written again.
func (p *Pods) Observe(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	report, ok := p.pods[pod.UID]
	if !ok {
		report = &podReport{pod: types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}}
		p.pods[pod.UID] = report
	}
	report.known = conditionsOf(pod)
	report.seen++
	now := p.clock.Now()
	if report.want != (Condition{}) && len(report.patch(now)) > 0 {
		p.queue.AddAfter(pod.UID, max(report.notBefore.Sub(now), report.written.Add(insistEvery).Sub(now)))
	}
}

// Set asks for the pod's conditions to say this. A pod that was never observed is ignored: it isn't there.
// delay lets a state pass unreported that is over before it is of interest to anybody.
func (p *Pods) Set(uid types.UID, want Condition, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	report, ok := p.pods[uid]
	if !ok || report.want == want {
		return
	}
	report.want, report.notBefore = want, p.clock.Now().Add(delay)
	p.queue.AddAfter(uid, delay)
}

// Forget drops a pod that is gone.
func (p *Pods) Forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, uid)
}

// Run writes until ctx ends.
func (p *Pods) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range podWorkers {
		workers.Go(func() {
			for p.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	p.queue.ShutDown()
	workers.Wait()
	return nil
}

func (p *Pods) next(ctx context.Context) bool {
	uid, stop := p.queue.Get()
	if stop {
		return false
	}
	defer p.queue.Done(uid)
	if err := p.write(ctx, uid); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).V(2).Info("Reporting a placeholder's conditions will be tried again", "podUID", uid, "err", err)
		p.queue.AddRateLimited(uid)
		return true
	}
	p.queue.Forget(uid)
	return true
}

func (p *Pods) write(ctx context.Context, uid types.UID) error {
	p.mu.Lock()
	report, ok := p.pods[uid]
	if !ok {
		p.mu.Unlock()
		return nil
	}
	pod, conditions, seen := report.pod, report.patch(p.clock.Now()), report.seen
	report.written = p.clock.Now()
	p.mu.Unlock()
	if len(conditions) == 0 {
		return nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid}, // refuses to report on another pod of the same name
		"status":   map[string]any{"conditions": conditions},
	})
	if err != nil {
		return fmt.Errorf("encoding conditions of %s: %w", pod, err)
	}
	written, err := p.client.Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another pod by now
	}
	if err != nil {
		return fmt.Errorf("patching conditions of %s: %w", pod, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if report.seen == seen {
		report.known = conditionsOf(written)
	}
	return nil
}

func conditionsOf(pod *corev1.Pod) map[corev1.PodConditionType]corev1.PodCondition {
	known := map[corev1.PodConditionType]corev1.PodCondition{}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == placeholder.ConditionReady || condition.Type == placeholder.ConditionAnnounced {
			known[condition.Type] = condition
		}
	}
	return known
}

// patch returns the conditions that differ from what the API server holds.
func (r *podReport) patch(now time.Time) []corev1.PodCondition {
	var changed []corev1.PodCondition
	for _, next := range []corev1.PodCondition{
		condition(placeholder.ConditionReady, r.want.Ready, r.want),
		condition(placeholder.ConditionAnnounced, r.want.Announced, r.want),
	} {
		old, ok := r.known[next.Type]
		if ok && old.Status == next.Status && old.Reason == next.Reason && old.Message == next.Message {
			continue
		}
		next.LastTransitionTime = metav1.NewTime(now)
		if ok && old.Status == next.Status {
			next.LastTransitionTime = old.LastTransitionTime
		}
		changed = append(changed, next)
	}
	return changed
}

func condition(kind corev1.PodConditionType, value bool, want Condition) corev1.PodCondition {
	status := corev1.ConditionFalse
	if value {
		status = corev1.ConditionTrue
	}
	return corev1.PodCondition{Type: kind, Status: status, Reason: want.Reason, Message: want.Message}
}

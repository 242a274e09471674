package scenario

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
)

// CreationLatency is how long new Services wait for their first answer, beside what a bare pod takes to its binding.
type CreationLatency struct {
	Family    string `json:"family"`
	PerSecond int    `json:"perSecond"`
	// Answer: from the call that creates the Service to the first frame that tells the client on the segment where its address
	// is: with IPv4 the answer to one of its requests, which it sends every 10 ms, or the announcement, whichever comes first;
	// with IPv6 the announcement.
	Answer Stats `json:"answer"`
	// CreateCall: what of that the call itself took, before anybody could know of the Service.
	CreateCall Stats `json:"createCall"`
	// AfterCreated is the rest, from the call's return on; zero where the answer came before that.
	AfterCreated Stats `json:"answerAfterCreateCall"`
	// BarePodBound: from the call that creates a pod for our scheduler to the watch event that shows its node.
	BarePodBound Stats `json:"barePodBound"`
}

// bareEvery is after how many Services a bare pod is created: enough to compare with, too few to be a load of its own.
const bareEvery = 5

// MeasureCreation creates Services at a steady rate, each with the address it asks for, and now and then a bare pod.
func (e *Env) MeasureCreation(ctx context.Context, prefix string, addresses []netip.Addr, perSecond int) (CreationLatency, error) {
	result := CreationLatency{Family: "IPv4", PerSecond: perSecond}
	o := Options(lab.ServiceOptions{})
	if addresses[0].Is6() {
		result.Family = "IPv6"
		o.Families = []corev1.IPFamily{corev1.IPv6Protocol}
	}
	ear, err := e.listen(ctx)
	if err != nil {
		return result, err
	}
	defer ear.close()
	pods, err := e.watchBarePods(ctx, prefix)
	if err != nil {
		return result, err
	}
	defer pods.stop()
	var mu sync.Mutex
	var answers, calls, rests []time.Duration
	group, groupCtx := errgroup.WithContext(ctx)
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i, addr := range addresses {
		<-tick.C
		group.Go(func() error {
			o := o
			o.Annotations = map[string]string{placeholder.AnnotationRequested: addr.String()}
			service := lab.NewService(fmt.Sprintf("%s-%03d", prefix, i), o)
			begin := time.Now()
			if _, err := e.Kube.CoreV1().Services("default").Create(groupCtx, service, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("creating Service %s: %w", service.Name, err)
			}
			called := time.Since(begin)
			at, err := ear.wait(groupCtx, addr)
			if err != nil {
				return err
			}
			mu.Lock()
			answers = append(answers, at.Sub(begin))
			calls = append(calls, called)
			rests = append(rests, max(at.Sub(begin)-called, 0))
			mu.Unlock()
			return nil
		})
		if i%bareEvery == 0 {
			group.Go(func() error { return pods.create(groupCtx, fmt.Sprintf("%s-bare-%03d", prefix, i)) })
		}
	}
	if err := group.Wait(); err != nil {
		return result, err
	}
	result.Answer, result.CreateCall, result.AfterCreated = StatsOf(answers), StatsOf(calls), StatsOf(rests)
	bound, err := pods.wait(ctx, (len(addresses)+bareEvery-1)/bareEvery)
	if err != nil {
		return result, err
	}
	result.BarePodBound = StatsOf(bound)
	return result, nil
}

// barePods are pods without a VIP that our scheduler binds, for comparison.
type barePods struct {
	env    *Env
	prefix string
	watch  watch.Interface

	mu      sync.Mutex
	created map[string]time.Time
	bound   map[string]time.Duration
	done    chan struct{}
}

func (e *Env) watchBarePods(ctx context.Context, prefix string) (*barePods, error) {
	w, err := e.Kube.CoreV1().Pods(lab.Namespace).Watch(ctx, metav1.ListOptions{LabelSelector: "scenario=bare"})
	if err != nil {
		return nil, fmt.Errorf("watching bare pods: %w", err)
	}
	b := &barePods{
		env: e, prefix: prefix + "-bare-", watch: w,
		created: map[string]time.Time{}, bound: map[string]time.Duration{}, done: make(chan struct{}),
	}
	go b.follow()
	return b, nil
}

func (b *barePods) stop() {
	b.watch.Stop()
	<-b.done
}

// follow notes bindings as they are seen, until stop.
func (b *barePods) follow() {
	defer close(b.done)
	for event := range b.watch.ResultChan() {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok || pod.Spec.NodeName == "" || !strings.HasPrefix(pod.Name, b.prefix) {
			continue
		}
		b.mu.Lock()
		if _, seen := b.bound[pod.Name]; !seen {
			b.bound[pod.Name] = time.Since(b.created[pod.Name])
		}
		b.mu.Unlock()
	}
}

func (b *barePods) create(ctx context.Context, name string) error {
	b.mu.Lock()
	b.created[name] = time.Now()
	b.mu.Unlock()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"scenario": "bare"}},
		Spec: corev1.PodSpec{
			SchedulerName: placeholder.SchedulerName,
			Containers:    []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10"}},
		},
	}
	if _, err := b.env.Kube.CoreV1().Pods(lab.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating pod %s: %w", name, err)
	}
	return nil
}

func (b *barePods) wait(ctx context.Context, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var all []time.Duration
	err := lab.Eventually(ctx, func(context.Context) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.bound) < n {
			return fmt.Errorf("%d of %d bare pods were bound", len(b.bound), n)
		}
		all = slices.Collect(maps.Values(b.bound))
		return nil
	})
	return all, err
}

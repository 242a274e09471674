package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
)

// Scale is how many Services were placed over a cluster of nodes that are only objects.
type Scale struct {
	Services  int     `json:"services"`
	Nodes     int     `json:"nodes"`
	Placed    int     `json:"placed"`
	MaxMin    int     `json:"maxMinusMin"`
	Seconds   float64 `json:"seconds"` // from the first creation to the last binding
	PerSecond float64 `json:"bindingsPerSecond"`
}

// ReportFakeNodes writes the VIPNodes that announcers on the fake nodes would write.
func (e *Env) ReportFakeNodes(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i := 1; i <= n; i++ {
		group.Go(func() error {
			name := fmt.Sprintf("fake-%d", i)
			node := &v1alpha1.VIPNode{
				TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNode"},
				ObjectMeta: metav1.ObjectMeta{Name: name},
			}
			if err := e.VIPs.Post().Resource("vipnodes").Body(node).Do(ctx).Into(node); err != nil {
				return fmt.Errorf("creating VIPNode %s: %w", name, err)
			}
			node.Status = v1alpha1.VIPNodeStatus{
				Interfaces: []v1alpha1.NodeInterface{{
					Name: "eth0", MAC: fmt.Sprintf("02:00:00:01:%02x:%02x", i>>8, i&0xff), Carrier: true,
					Addresses: []string{fmt.Sprintf("198.18.%d.%d/15", i>>8, i&0xff)},
				}},
				Conditions: []metav1.Condition{{
					Type: v1alpha1.NodeDataPlaneHealthy, Status: metav1.ConditionTrue, Reason: "Healthy", LastTransitionTime: metav1.Now(),
				}},
			}
			if err := e.VIPs.Put().Resource("vipnodes").Name(name).SubResource("status").Body(node).Do(ctx).Error(); err != nil {
				return fmt.Errorf("reporting for VIPNode %s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// PlaceMany creates Services at once and waits until each has a placeholder with a node.
func (e *Env) PlaceMany(ctx context.Context, names []string, nodes int) (Scale, error) {
	result := Scale{Services: len(names), Nodes: nodes}
	begin := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for _, name := range names {
		group.Go(func() error {
			_, err := e.CreateService(groupCtx, name, Options(lab.ServiceOptions{}))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return result, err
	}
	err := e.countPlaced(ctx, &result, begin, func(ctx context.Context) (map[string]string, error) { return e.Placements(ctx) })
	return result, err
}

// SchedulePods creates pods like placeholders written by hand, for one scheduler or another, and waits until each has a node.
// first is the VIP of the first of them.
func (e *Env) SchedulePods(ctx context.Context, scheduler, prefix string, first netip.Addr, n, nodes int) (Scale, error) {
	result := Scale{Services: n, Nodes: nodes}
	begin := time.Now()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	vip := first
	for _, name := range Names(prefix, n) {
		addr := vip
		vip = vip.Next()
		group.Go(func() error {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{
					Name:        name,
					Labels:      map[string]string{"scenario": prefix, placeholder.LabelVIP: placeholder.VIPName(addr)},
					Annotations: map[string]string{placeholder.AnnotationAddresses: addr.String()},
				},
				Spec: corev1.PodSpec{
					SchedulerName: scheduler, HostNetwork: true,
					Containers: []corev1.Container{{Name: "pause", Image: "registry.k8s.io/pause:3.10"}},
				},
			}
			_, err := e.Kube.CoreV1().Pods(lab.Namespace).Create(groupCtx, pod, metav1.CreateOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return result, err
	}
	err := e.countPlaced(ctx, &result, begin, func(ctx context.Context) (map[string]string, error) {
		pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "scenario=" + prefix})
		if err != nil {
			return nil, err
		}
		placed := map[string]string{}
		for _, pod := range pods.Items {
			placed[pod.Name] = pod.Spec.NodeName
		}
		return placed, nil
	})
	return result, err
}

func (e *Env) countPlaced(ctx context.Context, result *Scale, begin time.Time, placements func(context.Context) (map[string]string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	perNode := map[string]int{}
	err := lab.Eventually(ctx, func(ctx context.Context) error {
		placed, err := placements(ctx)
		if err != nil {
			return err
		}
		clear(perNode)
		result.Placed = 0
		for _, node := range placed {
			if node != "" {
				result.Placed++
				perNode[node]++
			}
		}
		if result.Placed < result.Services {
			return fmt.Errorf("%d of %d are placed", result.Placed, result.Services)
		}
		return nil
	})
	result.Seconds = time.Since(begin).Seconds()
	result.PerSecond = float64(result.Placed) / result.Seconds
	counts := make([]int, 0, result.Nodes)
	for i := 1; i <= result.Nodes; i++ {
		counts = append(counts, perNode[fmt.Sprintf("fake-%d", i)])
	}
	result.MaxMin = slices.Max(counts) - slices.Min(counts)
	return err
}

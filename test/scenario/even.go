package scenario

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/test/lab"
)

// Spread is how many VIPs each node announces.
type Spread struct {
	VIPs    int   `json:"vips"`
	Nodes   int   `json:"nodes"`
	PerNode []int `json:"perNode"`
	MaxMin  int   `json:"maxMinusMin"`
}

// SpreadOf counts the placeholders on each of the lab's nodes.
func (e *Env) SpreadOf(ctx context.Context) (Spread, error) {
	placements, err := e.Placements(ctx)
	if err != nil {
		return Spread{}, err
	}
	counts := map[string]int{}
	for _, node := range placements {
		counts[node]++
	}
	s := Spread{VIPs: len(placements), Nodes: len(e.Nodes)}
	for _, n := range e.Nodes {
		s.PerNode = append(s.PerNode, counts[n.Name()])
	}
	s.MaxMin = slices.Max(s.PerNode) - slices.Min(s.PerNode)
	return s, nil
}

// Names returns n names with a common prefix: "web-000" and so on.
func Names(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%03d", prefix, i)
	}
	return names
}

// CreateAll creates Services at once and waits until all are announced.
func (e *Env) CreateAll(ctx context.Context, names []string, o lab.ServiceOptions) error {
	o = Options(o)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, name := range names {
		group.Go(func() error {
			_, err := e.CreateService(groupCtx, name, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	_, err := e.Announced(ctx, names...)
	return err
}

// DeleteAll deletes Services and waits until their placeholders are gone.
func (e *Env) DeleteAll(ctx context.Context, names []string) error {
	before, err := e.Placements(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := e.Kube.CoreV1().Services("default").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return fmt.Errorf("deleting Service %s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		after, err := e.Placements(ctx)
		if err != nil {
			return err
		}
		if len(after) != len(before)-len(names) {
			return fmt.Errorf("%d placeholders are left, want %d", len(after), len(before)-len(names))
		}
		return nil
	})
}

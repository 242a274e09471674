package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/test/lab"
)

// Weights is how VIPs of several weights came out, created in a random order, and how others would have placed the same ones.
type Weights struct {
	Seed    uint64    `json:"seed"`
	VIPs    int       `json:"vips"`
	Nodes   int       `json:"nodes"`
	Largest int64     `json:"largestWeight"`
	Ours    Spreading `json:"evenkeel"`
	Hash    Spreading `json:"hashAsMetalLB"`
	Random  Spreading `json:"random"`
}

// weightOf is the weight of the i-th of several Services: 1 to 10, over and over.
func weightOf(i int) int64 { return int64(i%10) + 1 }

// CreateWeighted creates Services of weights 1 to 10 one after the other, in an order of the seed's, and waits until all are announced.
func (e *Env) CreateWeighted(ctx context.Context, names []string, seed uint64) error {
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(names)) {
		o := Options(lab.ServiceOptions{Annotations: map[string]string{placeholder.AnnotationWeight: strconv.FormatInt(weightOf(i), 10)}})
		if _, err := e.CreateService(ctx, names[i], o); err != nil {
			return err
		}
	}
	_, err := e.Announced(ctx, names...)
	return err
}

// PlaceWeighted creates Services of weights 1 to 10 in an order of the seed's, counts, and deletes them again.
func (e *Env) PlaceWeighted(ctx context.Context, names []string, seed uint64) (Weights, error) {
	result := Weights{Seed: seed, VIPs: len(names), Nodes: len(e.Nodes)}
	if err := e.CreateWeighted(ctx, names, seed); err != nil {
		return result, err
	}
	addresses, err := e.Announced(ctx, names...)
	if err != nil {
		return result, err
	}
	placements, err := e.Placements(ctx)
	if err != nil {
		return result, err
	}
	var vips []Weighted
	loads := map[string]int64{}
	for i, name := range names {
		vip := Weighted{Address: addresses[name][0], Weight: weightOf(i)}
		vips = append(vips, vip)
		loads[placements[placeholder.VIPName(vip.Address)]] += vip.Weight
		result.Largest = max(result.Largest, vip.Weight)
	}
	result.Ours, result.Hash, result.Random = spreading(e.names(), loads), ByHash(vips, e.names()), AtRandom(vips, e.names(), seed)
	return result, e.DeleteAll(ctx, names)
}

// Shares is how VIPs came out on nodes of several capacities.
type Shares struct {
	VIPs       int     `json:"vips"`
	Capacities []int64 `json:"capacities"`
	PerNode    []int   `json:"perNode"`
	// Off is by how many VIPs the node that is farthest off has more or less than its share.
	Off float64 `json:"vipsOffTheShareAtMost"`
}

// SetCapacities writes the capacities of the first nodes, in their order.
func (e *Env) SetCapacities(ctx context.Context, capacities ...int64) error {
	for i, capacity := range capacities {
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"%d"}}}`, placeholder.AnnotationCapacity, capacity)
		if err := e.patchNode(ctx, e.Nodes[i].Name(), patch); err != nil {
			return err
		}
	}
	time.Sleep(time.Second) // the scheduler's view of the nodes follows
	return nil
}

func (e *Env) patchNode(ctx context.Context, name, patch string) error {
	if _, err := e.Kube.CoreV1().Nodes().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patching Node %s: %w", name, err)
	}
	return nil
}

// SharesOf compares what is placed with the nodes' capacities.
func (e *Env) SharesOf(ctx context.Context, capacities ...int64) (Shares, error) {
	s, err := e.SpreadOf(ctx)
	if err != nil {
		return Shares{}, err
	}
	result := Shares{VIPs: s.VIPs, Capacities: capacities, PerNode: s.PerNode}
	var total int64
	for _, capacity := range capacities {
		total += capacity
	}
	for i, capacity := range capacities {
		off := float64(s.PerNode[i]) - float64(s.VIPs)*float64(capacity)/float64(total)
		result.Off = max(result.Off, off, -off)
	}
	return result, nil
}

// AfterLoss is what would be where after the loss of one node.
type AfterLoss struct {
	Lost string `json:"lost"`
	VIPs int    `json:"vips"`
	// Weighted VIPs have weights up to Largest.
	Largest int64     `json:"largestWeight"`
	Load    Spreading `json:"load"`
}

// Losses says how the loss of each node would come out, once that is within the largest weight for all of them, or after SettleAtMost. It
// returns how long that took.
func (e *Env) Losses(ctx context.Context) ([]AfterLoss, time.Duration, error) {
	begin := time.Now()
	for {
		losses, err := e.losses(ctx)
		took := time.Since(begin)
		uneven := slices.ContainsFunc(losses, func(l AfterLoss) bool { return l.Load.MaxMin > l.Largest })
		if took >= e.SettleAtMost || err == nil && !uneven {
			return losses, took, err
		}
		time.Sleep(200 * time.Millisecond) // standbys move a few at a time
	}
}

func (e *Env) losses(ctx context.Context) ([]AfterLoss, error) {
	found, err := e.whole(ctx, e.names())
	if err != nil {
		return nil, err
	}
	vips, err := e.ListVIPs(ctx)
	if err != nil {
		return nil, err
	}
	weights, largest := map[string]int64{}, int64(1)
	for name, vip := range vips {
		weights[name] = max(1, vip.Spec.Weight)
		largest = max(largest, weights[name])
	}
	var losses []AfterLoss
	for _, n := range e.Nodes {
		losses = append(losses, AfterLoss{
			Lost: n.Name(), VIPs: len(found), Largest: largest, Load: weightedAfterLoss(found, weights, n.Name(), e.others(n)),
		})
	}
	return losses, nil
}

// weightedAfterLoss is the spread over the others once a node's VIPs are where their first standbys are.
func weightedAfterLoss(found map[string]places, weights map[string]int64, lost string, others []string) Spreading {
	loads := map[string]int64{}
	for vip, p := range found {
		switch {
		case p.active != lost:
			loads[p.active] += weights[vip]
		case len(p.standbys) > 0:
			loads[p.standbys[0]] += weights[vip]
		}
	}
	return spreading(others, loads)
}

package scenario

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/test/lab"
)

// Evened is what evening out did after something had left VIPs uneven, or while a node was left.
type Evened struct {
	What string `json:"what"`
	VIPs int    `json:"vips"`
	// Before is how VIPs were spread when it began, over the nodes that were to have them in the end; After is how they were then.
	Before Spread `json:"before"`
	After  Spread `json:"after"`
	// Seconds until the spread was at most one and no move was asked for any more; the nodes' settling and calm are in it.
	Seconds float64 `json:"seconds"`
	// Even: that came about in time.
	Even bool `json:"even"`
	// Moves are changes of owners by the kernels' own record, Twice how many VIPs had more than one. Least is how many were needed, and
	// Hash how many VIPs a rendezvous hash of VIPs over the nodes would have moved for the same change.
	Moves int `json:"moves"`
	Twice int `json:"movedTwice"`
	Least int `json:"fewestPossible"`
	Hash  int `json:"byHash"`
	// Recorded is how many moves the pool's status counts against its budget in the end.
	Recorded int `json:"recordedInBudget"`
	// Pings of all VIPs, connections to them, 100 a second, and connections that were opened before.
	Probes      Unanswered `json:"probes"`
	Connects    Connects   `json:"connects"`
	Established Streamed   `json:"established"`
	TwoOwnersMs float64    `json:"twoOwnersMs"`
}

// EvenWithin is the promise for what deletions, joining and returning nodes leave uneven.
const EvenWithin = 5 * time.Minute

const (
	// evenStreams is how many connections, with ten requests a second each, evening out finds.
	evenStreams = 50
	// evenAfter is how long VIPs are watched once they are even: what moves did late, and moves too many.
	evenAfter = 8 * time.Second
)

// QuickPolicy evens out as the promise says, but waits less: a lab's nodes don't flap, and a run is to take minutes.
func QuickPolicy() *v1alpha1.RebalancePolicy {
	perHour := int32(600)
	return &v1alpha1.RebalancePolicy{
		Mode: v1alpha1.RebalanceAuto, MovesPerHour: &perHour,
		NodeSettle: &metav1.Duration{Duration: 5 * time.Second}, Cooldown: &metav1.Duration{Duration: time.Second},
	}
}

// SetRebalance gives the usual pool a policy. Labs start with mode Off: what is measured there are not the moves that even out.
func (e *Env) SetRebalance(ctx context.Context, policy *v1alpha1.RebalancePolicy) error {
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/spec/rebalance", "value": policy}})
	if err != nil {
		return err
	}
	if err := e.VIPs.Patch(types.JSONPatchType).Resource("vippools").Name(usualPool).Body(patch).Do(ctx).Error(); err != nil {
		return fmt.Errorf("setting the rebalance policy of pool %s: %w", usualPool, err)
	}
	return nil
}

// Retire takes a node out of the cluster of those that announce, as if it had never had an announcer; Join puts one there. It is to
// have no VIPs.
func (e *Env) Retire(ctx context.Context, n *lab.Node) error {
	if err := n.Announcer.Stop(ctx); err != nil {
		return err
	}
	if err := e.VIPs.Delete().Resource("vipnodes").Name(n.Name()).Do(ctx).Error(); err != nil {
		return fmt.Errorf("deleting VIPNode %s: %w", n.Name(), err)
	}
	return nil
}

// Join starts a node's announcer.
func (e *Env) Join(n *lab.Node) error { return n.Announcer.Start() }

// Watched says what a change is watched for.
type Watched struct {
	What string
	// Nodes that are to have VIPs in the end, and those that had before, for what a hash would move.
	Nodes, Earlier []string
	// Traffic: all VIPs are pinged, and connections to them opened and kept.
	Traffic bool
	Within  time.Duration
}

// EvenOut makes a change and waits until VIPs are even. A change that takes an owner its VIPs by force is not to be watched with traffic.
func (e *Env) EvenOut(ctx context.Context, w Watched, change func() error) (result Evened, err error) {
	result.What = w.What
	before, err := e.Owners()
	if err != nil {
		return result, err
	}
	vips := slices.SortedFunc(maps.Keys(before), netip.Addr.Compare)
	if len(vips) == 0 {
		return result, errors.New("no VIP is announced")
	}
	result.VIPs, result.Before = len(vips), spreadOver(before, w.Nodes)
	result.Least, result.Hash = fewest(before, w.Nodes), hashMoves(vips, w.Earlier, w.Nodes)
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	begin := time.Now()
	evenOut := func() error {
		if err := change(); err != nil {
			return err
		}
		err := e.evenOn(ctx, w.Nodes, len(vips), w.Within)
		result.Even, result.Seconds = err == nil, time.Since(begin).Seconds()
		time.Sleep(evenAfter)
		return ctx.Err()
	}
	if w.Traffic {
		err = e.underTraffic(ctx, vips, &result, evenOut)
	} else {
		err = evenOut()
	}
	events, stopErr := recorder.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return result, err
	}
	for _, vip := range vips {
		n := changes(events, vip, before[vip][0], time.Now())
		result.Moves += n
		if n > 1 {
			result.Twice++
		}
	}
	longest, _ := twoOwners(events, vips, begin, time.Now())
	result.TwoOwnersMs = millis(longest)
	after, err := e.Owners()
	if err != nil {
		return result, err
	}
	result.After = spreadOver(after, w.Nodes)
	result.Recorded, err = e.recordedMoves(ctx)
	return result, err
}

// underTraffic pings VIPs, opens connections to them and uses others while f runs.
func (e *Env) underTraffic(ctx context.Context, vips []netip.Addr, result *Evened, f func() error) error {
	client, err := e.Client.StartRequests(vips, lab.RequestOptions{Every: 10 * time.Millisecond, InTurn: true})
	if err != nil {
		return err
	}
	s, err := startStreams(ctx, e.Client.Netns, vips, evenStreams, 100*time.Millisecond)
	if err != nil {
		_, stopErr := client.Stop()
		return errors.Join(err, stopErr)
	}
	result.Probes, err = e.Probing(ctx, vips, 10*time.Millisecond, f)
	result.Established = s.phase()
	s.end()
	attempts, stopErr := client.Stop()
	result.Connects = connectsOf(attempts)
	return errors.Join(err, stopErr)
}

// evenOn waits until so many VIPs are on the nodes, which differ by at most one, and no move is asked for.
func (e *Env) evenOn(ctx context.Context, nodes []string, vips int, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		time.Sleep(200 * time.Millisecond) // the pace
		owners, err := e.Owners()
		if err != nil {
			return err
		}
		for vip, on := range owners {
			if len(on) != 1 || !slices.Contains(nodes, on[0]) {
				return fmt.Errorf("%s is on %v", vip, on)
			}
		}
		if len(owners) != vips {
			return fmt.Errorf("%d VIPs are announced, want %d", len(owners), vips)
		}
		if spread := spreadOver(owners, nodes); spread.MaxMin > 1 {
			return fmt.Errorf("VIPs per node: %v", spread.PerNode)
		}
		objects, err := e.ListVIPs(ctx)
		if err != nil {
			return err
		}
		for name, vip := range objects {
			if vip.Spec.Move != nil {
				return fmt.Errorf("VIP %s is to move to %s", name, vip.Spec.Move.To)
			}
		}
		return nil
	})
}

// recordedMoves are those that the usual pool's status holds.
func (e *Env) recordedMoves(ctx context.Context) (int, error) {
	var pool v1alpha1.VIPPool
	if err := e.VIPs.Get().Resource("vippools").Name(usualPool).Do(ctx).Into(&pool); err != nil {
		return 0, fmt.Errorf("reading pool %s: %w", usualPool, err)
	}
	if pool.Status.Rebalance == nil {
		return 0, nil
	}
	return len(pool.Status.Rebalance.Moves), nil
}

// fewest is how many VIPs must change their owners so that the nodes have even shares and no other has any.
func fewest(owners map[netip.Addr][]string, nodes []string) int {
	s := rebalance.Snapshot{Nodes: map[string]rebalance.Node{}, VIPs: map[string]rebalance.VIP{}}
	for _, node := range nodes {
		s.Nodes[node] = rebalance.Node{Capacity: 1}
	}
	forced := 0
	for vip, on := range owners {
		if len(on) == 0 || !slices.Contains(nodes, on[0]) {
			forced++ // it can go to where it stays
			continue
		}
		s.VIPs[placeholder.VIPName(vip)] = rebalance.VIP{Weight: 1, Active: on[0], Allowed: nodes}
	}
	if forced == 0 {
		return len(rebalance.Plan(s).Moves)
	}
	// Those that must go anyway fill up the emptiest nodes. The fullest may keep the larger shares, and give away what is above.
	loads := s.Distribution()
	slices.SortFunc(loads, func(a, b rebalance.Share) int { return b.VIPs - a.VIPs })
	moves := forced
	for i, node := range loads {
		share := len(owners) / len(nodes)
		if i < len(owners)%len(nodes) {
			share++
		}
		moves += max(0, node.VIPs-share)
	}
	return moves
}

// hashMoves counts the VIPs whose node a rendezvous hash changes along with the set of nodes.
func hashMoves(vips []netip.Addr, earlier, now []string) int {
	moves := 0
	for _, vip := range vips {
		if hashed(vip, earlier) != hashed(vip, now) {
			moves++
		}
	}
	return moves
}

// hashed is the node that wins a VIP by the hash of both names.
func hashed(vip netip.Addr, nodes []string) string {
	return slices.MaxFunc(nodes, func(a, b string) int { return bytes.Compare(rank(vip, a), rank(vip, b)) })
}

func rank(vip netip.Addr, node string) []byte {
	sum := sha256.Sum256([]byte(vip.String() + "#" + node))
	return sum[:]
}

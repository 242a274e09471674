package survey

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/fleet"
	placing "evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/rebalance"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) // a Monday

// town is a cluster that tests change by hand: all nodes are on one segment.
type town struct {
	now      time.Time
	nodes    []corev1.Node
	vipNodes []v1alpha1.VIPNode
	pools    []*v1alpha1.VIPPool
	vips     []*v1alpha1.VIP
	pods     []corev1.Pod
	never    map[string]bool
	traffic  map[string]int64
}

// aTown has a pool "main" and so many of its VIPs on each node; the nodes have been there for a day.
func aTown(counts ...int) *town {
	w := &town{now: noon, never: map[string]bool{}, traffic: map[string]int64{}}
	w.pool("main", nil)
	for _, count := range counts {
		node := w.join(24 * time.Hour)
		for range count {
			w.vip("main", node)
		}
	}
	return w
}

func (w *town) pool(name string, p *v1alpha1.RebalancePolicy) *v1alpha1.VIPPool {
	pool := &v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.VIPPoolSpec{Rebalance: p}}
	w.pools = append(w.pools, pool)
	return pool
}

// join adds a node that has been there for a while, and returns its name.
func (w *town) join(since time.Duration) string {
	number := len(w.nodes) + 1
	meta := metav1.ObjectMeta{Name: fmt.Sprintf("n%d", number), CreationTimestamp: metav1.NewTime(w.now.Add(-since))}
	w.nodes = append(w.nodes, corev1.Node{ObjectMeta: meta})
	w.vipNodes = append(w.vipNodes, v1alpha1.VIPNode{ObjectMeta: meta, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
		{Name: "eth0", MAC: fmt.Sprintf("02:00:00:00:00:%02x", number), Addresses: []string{fmt.Sprintf("10.0.255.%d/16", number)}, Carrier: true},
	}}})
	return meta.Name
}

// vip adds one that a node announces.
func (w *town) vip(pool, node string, standbys ...string) *v1alpha1.VIP {
	addr := netip.AddrFrom4([4]byte{10, 0, byte(len(w.vips) / 250), byte(len(w.vips)%250 + 1)})
	vip := &v1alpha1.VIP{ObjectMeta: metav1.ObjectMeta{Name: placeholder.VIPName(addr)}, Spec: v1alpha1.VIPSpec{Pool: pool, Addresses: []string{addr.String()}}}
	vip.Status.Node = node
	w.vips = append(w.vips, vip)
	w.pod(vip, node, placeholder.Active)
	for _, standby := range standbys {
		w.pod(vip, standby, placeholder.Standby)
	}
	return vip
}

func (w *town) pod(vip *v1alpha1.VIP, node string, role placeholder.Role) *corev1.Pod {
	w.pods = append(w.pods, corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%d", vip.Name, len(w.pods)), CreationTimestamp: metav1.NewTime(w.now),
			Labels:      map[string]string{placeholder.LabelVIP: vip.Name, placeholder.LabelRole: string(role)},
			Annotations: map[string]string{placeholder.AnnotationAddresses: vip.Spec.Addresses[0]},
		},
		Spec: corev1.PodSpec{NodeName: node, SchedulerName: placeholder.SchedulerName},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: placeholder.ConditionAnnounced, Status: corev1.ConditionTrue, Reason: placeholder.ReasonAnnouncing},
		}},
	})
	return &w.pods[len(w.pods)-1]
}

// podOf is a VIP's active placeholder.
func (w *town) podOf(vip *v1alpha1.VIP) *corev1.Pod {
	for i := range w.pods {
		if w.pods[i].Labels[placeholder.LabelVIP] == vip.Name && placeholder.RoleOf(&w.pods[i]) == placeholder.Active {
			return &w.pods[i]
		}
	}
	return nil
}

func (w *town) look() Outlook { return Of(w.cluster()) }

// suspect has a node fall silent.
func (w *town) suspect(node int) {
	w.vipNodes[node].Spec.Suspect = &v1alpha1.Suspicion{ID: "x", Reason: failover.FellSilent, Since: metav1.NewTime(w.now)}
}

func (w *town) cluster() Cluster {
	able := map[string]time.Time{}
	for i := range w.nodes {
		able[w.nodes[i].Name] = policy.AbleSince(&w.nodes[i], &w.vipNodes[i], time.Time{})
	}
	return Cluster{
		Now: w.now, VIPs: w.vips, Pools: w.pools, Pods: w.pods, Nodes: fleet.Of(w.vipNodes, w.nodes, fleet.Options{}, w.now), Traffic: w.traffic,
		Able: func(node string) time.Time { return able[node] }, Defaults: policy.Default(),
		Demand: func(vip *v1alpha1.VIP) (fleet.Demand, bool) {
			for _, pool := range w.pools {
				if pool.Name == vip.Spec.Pool {
					return fleet.Demand{Addresses: []netip.Addr{netip.MustParseAddr(vip.Spec.Addresses[0])}, Selector: pool.Spec.NodeSelector, Tolerations: placing.Tolerations(pool)}, true
				}
			}
			return fleet.Demand{}, false
		},
		Never: func(vip *v1alpha1.VIP) bool { return w.never[vip.Name] },
	}
}

// begin asks for a move as the controller does, and end ends it.
func (w *town) begin(move rebalance.Move) {
	vip := w.find(move.VIP)
	for _, pool := range w.pools {
		if pool.Name == vip.Spec.Pool {
			if pool.Status.Rebalance == nil {
				pool.Status.Rebalance = &v1alpha1.RebalanceStatus{}
			}
			pool.Status.Rebalance.Moves = policy.Record(pool.Status.Rebalance.Moves, vip.Name, w.now)
		}
	}
	vip.Spec.Move = &v1alpha1.MoveRequest{To: move.To, Reason: string(move.Reason), RequestedAt: metav1.NewTime(w.now)}
}

func (w *town) end(move rebalance.Move) {
	vip := w.find(move.VIP)
	vip.Spec.Move = nil
	vip.Status.Node = move.To
	vip.Status.LastMove = &v1alpha1.VIPMove{From: move.From, To: move.To, Reason: string(move.Reason), Time: metav1.NewTime(w.now)}
	w.podOf(vip).Spec.NodeName = move.To
}

func (w *town) find(name string) *v1alpha1.VIP {
	for _, vip := range w.vips {
		if vip.Name == name {
			return vip
		}
	}
	return nil
}

// run carries out what may begin, one second a move, and passes the time until something may again; for at most so long.
func (w *town) run(t interface{ Fatalf(string, ...any) }, most time.Duration) (moves int) {
	for until := w.now.Add(most); w.now.Before(until); {
		out := w.look()
		for _, move := range out.Begin {
			w.begin(move)
		}
		w.now = w.now.Add(time.Second)
		for _, move := range out.Begin {
			w.end(move)
		}
		moves += len(out.Begin)
		if len(out.Begin) > 0 {
			continue
		}
		if out.Again.IsZero() {
			return moves
		}
		if !out.Again.After(w.now.Add(-time.Second)) {
			t.Fatalf("at %s it is to be looked at again at %s", w.now, out.Again)
		}
		w.now = out.Again.Add(time.Millisecond)
	}
	return moves
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func number(n int32) *int32 { return &n }

func reasons(t *testing.T, held []Held) map[policy.Reason]int {
	t.Helper()
	count := map[policy.Reason]int{}
	for _, h := range held {
		count[h.Reason]++
	}
	return count
}

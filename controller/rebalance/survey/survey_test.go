package survey

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

func TestWhatIsFound(t *testing.T) {
	type found struct {
		moves, begin int
		even         bool // pool main
		held         map[policy.Reason]int
		served       []string
	}
	mode := func(m v1alpha1.RebalanceMode) func(*town) {
		return func(w *town) { w.pools[0].Spec.Rebalance = &v1alpha1.RebalancePolicy{Mode: m} }
	}
	asked := func(w *town) {
		w.pools[0].Annotations = map[string]string{placeholder.AnnotationRebalanceNow: policy.Request(w.now)}
	}
	tests := map[string]struct {
		town   *town
		change []func(*town)
		want   found
	}{
		"nothing, nothing is missing": {aTown(), nil, found{even: true}},
		"a difference of one is even": {aTown(2, 1, 1), nil, found{even: true}},
		"a difference of two is one move": {aTown(3, 1), nil,
			found{moves: 1, begin: 1}},
		"four on one of two nodes are two moves, one at once": {aTown(4, 0), nil,
			found{moves: 2, begin: 1, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"two at once where the pool says so": {aTown(6, 0), []func(*town){func(w *town) {
			w.pools[0].Spec.Rebalance = &v1alpha1.RebalancePolicy{MovesAtOnce: number(2)}
		}}, found{moves: 3, begin: 2, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"while one is under way no other begins, and it counts where it goes": {aTown(4, 0), []func(*town){func(w *town) {
			w.vips[0].Spec.Move = &v1alpha1.MoveRequest{To: "n2", Reason: v1alpha1.ReasonImbalance}
		}}, found{moves: 1, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"with the last move under way it isn't even yet": {aTown(3, 1), []func(*town){func(w *town) {
			w.vips[0].Spec.Move = &v1alpha1.MoveRequest{To: "n2", Reason: v1alpha1.ReasonImbalance}
		}}, found{}},
		"somebody's own move doesn't count against it": {aTown(6, 0), []func(*town){func(w *town) {
			w.vips[0].Spec.Move = &v1alpha1.MoveRequest{To: "n2", Reason: v1alpha1.ReasonUser}
		}}, found{moves: 2, begin: 1, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"mode Off moves nothing": {aTown(4, 0), []func(*town){mode(v1alpha1.RebalanceOff)},
			found{held: map[policy.Reason]int{policy.Off: 1}}},
		"mode Off serves a request by doing nothing": {aTown(4, 0), []func(*town){mode(v1alpha1.RebalanceOff), asked},
			found{held: map[policy.Reason]int{policy.Off: 1}, served: []string{"main"}}},
		"mode Manual waits to be asked": {aTown(4, 0), []func(*town){mode(v1alpha1.RebalanceManual)},
			found{held: map[policy.Reason]int{policy.Manual: 1}}},
		"and moves when it is": {aTown(4, 0), []func(*town){mode(v1alpha1.RebalanceManual), asked},
			found{moves: 2, begin: 1, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"a request with nothing to do is served": {aTown(1, 1), []func(*town){mode(v1alpha1.RebalanceManual), asked},
			found{even: true, served: []string{"main"}}},
		"a request waits for a node that settles": {aTown(4), []func(*town){mode(v1alpha1.RebalanceManual), asked, func(w *town) { w.join(time.Minute) }},
			found{held: map[policy.Reason]int{policy.NodeSettling: 1}}},
		"outside its window a pool waits": {aTown(4, 0), []func(*town){func(w *town) {
			w.pools[0].Spec.Rebalance = &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed,
				Windows: []v1alpha1.RebalanceWindow{{Schedule: "0 3 * * *", Duration: metav1.Duration{Duration: time.Hour}}}}
		}}, found{held: map[policy.Reason]int{policy.OutsideWindow: 1}}},
		"a node that has just joined is waited for": {aTown(2, 2), []func(*town){func(w *town) { w.join(time.Minute) }},
			found{held: map[policy.Reason]int{policy.NodeSettling: 1}}},
		"one that has settled gets its share": {aTown(3, 3), []func(*town){func(w *town) { w.join(3 * time.Minute) }},
			found{moves: 2, begin: 1, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"a cordoned node isn't short of VIPs": {aTown(2, 2, 0), []func(*town){func(w *town) { w.nodes[2].Spec.Unschedulable = true }},
			found{even: true}},
		"a VIP whose Service says never stays": {aTown(2, 0), []func(*town){func(w *town) { w.never[w.vips[0].Name] = true }},
			found{moves: 1, begin: 1}},
		"and where all do, that is said": {aTown(2, 0), []func(*town){func(w *town) { w.never[w.vips[0].Name], w.never[w.vips[1].Name] = true, true }},
			found{held: map[policy.Reason]int{policy.Never: 2}}},
		"VIPs that were moved stay for their cooldown": {aTown(2, 0), []func(*town){func(w *town) {
			for _, vip := range w.vips {
				vip.Status.LastMove = &v1alpha1.VIPMove{Reason: v1alpha1.ReasonNodeJoined, Time: metav1.NewTime(w.now.Add(-time.Minute))}
			}
		}}, found{held: map[policy.Reason]int{policy.Cooldown: 2}}},
		"a VIP that carries most of the traffic stays": {aTown(2, 0), []func(*town){func(w *town) {
			w.traffic[w.vips[0].Name], w.traffic[w.vips[1].Name] = 9_000_000, 1_000_000
		}}, found{moves: 1, begin: 1}},
		"a used-up budget holds": {aTown(4, 0), []func(*town){func(w *town) {
			w.pools[0].Spec.Rebalance = &v1alpha1.RebalancePolicy{MovesPerHour: number(1)}
			w.pools[0].Status.Rebalance = &v1alpha1.RebalanceStatus{Moves: policy.Record(nil, "another", w.now.Add(-time.Minute))}
		}}, found{moves: 2, held: map[policy.Reason]int{policy.Budget: 1}}},
		"a larger threshold leaves more alone": {aTown(5, 1), []func(*town){func(w *town) {
			w.pools[0].Spec.Rebalance = &v1alpha1.RebalancePolicy{ImbalanceThreshold: number(4)}
		}}, found{even: true}},
		"each pool's VIPs go by their own threshold": {aTown(4, 0), []func(*town){func(w *town) {
			w.pools[0].Spec.Rebalance = &v1alpha1.RebalancePolicy{ImbalanceThreshold: number(8)}
			w.pool("other", nil)
			w.vip("other", "n1")
		}}, found{moves: 1, begin: 1, even: true}},
		"a VIP with a placeholder that comes or goes stays": {aTown(2, 0), []func(*town){func(w *town) {
			w.pod(w.vips[0], "", placeholder.Standby)
			w.pod(w.vips[1], "", placeholder.Active)
		}}, found{held: map[policy.Reason]int{UnderWay: 2}}},
		"a standby for which there is no room keeps nobody": {aTown(2, 0), []func(*town){func(w *town) {
			for _, vip := range w.vips {
				w.pod(vip, "", placeholder.Standby).CreationTimestamp = metav1.NewTime(w.now.Add(-time.Hour))
			}
		}}, found{moves: 1, begin: 1}},
		"with externalTrafficPolicy Local a VIP only changes roles with its standby": {aTown(0, 0, 0), []func(*town){func(w *town) {
			for _, standby := range []string{"n2", "n2", "n2"} {
				vip := w.vip("main", "n1", standby)
				w.podOf(vip).Annotations[placeholder.AnnotationPolicy] = string(corev1.ServiceExternalTrafficPolicyLocal)
			}
		}}, found{moves: 1, begin: 1}},
		"nodes that only the pool tolerates are evened out": {aTown(4, 0), []func(*town){func(w *town) {
			taint := corev1.Taint{Key: "dedicated", Value: "vips", Effect: corev1.TaintEffectNoSchedule}
			w.nodes[0].Spec.Taints, w.nodes[1].Spec.Taints = []corev1.Taint{taint}, []corev1.Taint{taint}
			w.pools[0].Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}
		}}, found{moves: 2, begin: 1, held: map[policy.Reason]int{policy.MovesUnderWay: 1}}},
		"a placeholder that somebody wrote counts and stays": {aTown(0, 0), []func(*town){func(w *town) {
			for range 3 {
				w.vip("main", "n1")
			}
			w.vips = w.vips[:1]
		}}, found{moves: 1, begin: 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, change := range tt.change {
				change(tt.town)
			}
			out := tt.town.look()
			got := found{moves: len(out.Moves), begin: len(out.Begin), even: out.Pools["main"].Even, held: reasons(t, out.Held), served: out.Served}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(found{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s%+v", diff, out.Held)
			}
		})
	}
}

func TestAFifthNodeGetsItsShareByAsManyMoves(t *testing.T) {
	w := aTown(13, 13, 12, 12)
	fifth := w.join(0)
	if out := w.look(); len(out.Begin) > 0 || !out.Again.Equal(noon.Add(2*time.Minute)) {
		t.Fatalf("at once: %v, again at %s", out.Begin, out.Again)
	}
	moves := w.run(t, time.Hour)
	if moves != 10 {
		t.Errorf("%d moves", moves)
	}
	for _, share := range w.look().Before {
		if share.VIPs != 10 {
			t.Errorf("%s has %d", share.Node, share.VIPs)
		}
	}
	for _, vip := range w.vips {
		if vip.Status.LastMove != nil && (vip.Status.LastMove.Reason != v1alpha1.ReasonNodeJoined || vip.Status.Node != fifth) {
			t.Errorf("%s: %+v", vip.Name, vip.Status.LastMove)
		}
	}
	if took := w.now.Sub(noon); took > 3*time.Minute {
		t.Errorf("it took %s", took)
	}
}

func TestPoolsInOtherSegmentsAreNotUnevenByIt(t *testing.T) {
	w := aTown(4, 0)
	w.pool("far", nil).Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"rack": "far"}}
	far := w.join(24 * time.Hour)
	w.nodes[2].Labels = map[string]string{"rack": "far"}
	w.pools[0].Spec.NodeSelector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: metav1.LabelSelectorOpDoesNotExist}}}
	w.vip("far", far)
	out := w.look()
	if !out.Pools["far"].Even || out.Pools["main"].Even || out.Pools["main"].Missing != 2 {
		t.Errorf("%+v", out.Pools)
	}
}

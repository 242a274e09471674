package setup

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
)

func (w *world) node(name string) *corev1.Node {
	w.t.Helper()
	var n corev1.Node
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: name}, &n); err != nil {
		w.t.Fatal(err)
	}
	return &n
}

func (w *world) pool(name string) *v1alpha1.VIPPool {
	w.t.Helper()
	var p v1alpha1.VIPPool
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: name}, &p); err != nil {
		w.t.Fatal(err)
	}
	return &p
}

// setVIPNode deletes a VIPNode (nil) or makes it again.
func (w *world) setVIPNode(name string, node *v1alpha1.VIPNode) {
	w.t.Helper()
	if node == nil {
		w.delete(w.vipNode(name))
		w.book.ForgetVIPNode(name)
		w.nodes.ForgetVIPNode(name)
		return
	}
	w.create(node)
}

func (w *world) taint(node string, effect corev1.TaintEffect) {
	w.t.Helper()
	change(w, w.node(node), func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "test/keep-off", Effect: effect}} })
}

// TestANodeThatMayNotKeepAVIPIsLeft: each event on the active's node moves the VIP to its standby, make before break, and none of it
// comes back when the event is over.
func TestANodeThatMayNotKeepAVIPIsLeft(t *testing.T) {
	tests := map[string]struct {
		event, over func(w *world)
		reason      string
	}{
		"its NIC loses carrier": {
			func(w *world) {
				change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.Interfaces[0].Carrier = false })
			},
			func(w *world) {
				change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.Interfaces[0].Carrier = true })
			}, failover.WhyNodeUnfit},
		"its NIC leaves the subnet": {
			func(w *world) {
				change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.Interfaces[0].Addresses = []string{"198.51.100.1/24"} })
			},
			func(w *world) {
				change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.Interfaces[0].Addresses = []string{"192.0.2.101/24"} })
			}, failover.WhyNodeUnfit},
		"the exclude label": {
			func(w *world) {
				change(w, w.node("node-1"), func(n *corev1.Node) { n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""} })
			},
			func(w *world) { change(w, w.node("node-1"), func(n *corev1.Node) { n.Labels = nil }) }, failover.WhyNodeUnfit},
		"its pool selects other nodes": {
			func(w *world) {
				for _, name := range []string{"node-2", "node-3"} {
					change(w, w.node(name), func(n *corev1.Node) { n.Labels = map[string]string{"edge": "yes"} })
				}
				change(w, w.pool("main"), func(p *v1alpha1.VIPPool) {
					p.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"edge": "yes"}}
				})
			},
			func(w *world) { change(w, w.pool("main"), func(p *v1alpha1.VIPPool) { p.Spec.NodeSelector = nil }) }, failover.WhyNodeUnfit},
		"its label no longer fits its pool": {
			func(w *world) {
				for _, name := range []string{"node-1", "node-2", "node-3"} {
					change(w, w.node(name), func(n *corev1.Node) { n.Labels = map[string]string{"edge": "yes"} })
				}
				change(w, w.pool("main"), func(p *v1alpha1.VIPPool) {
					p.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"edge": "yes"}}
				})
				w.settle()
				change(w, w.node("node-1"), func(n *corev1.Node) { n.Labels = map[string]string{"edge": "no"} })
			},
			func(w *world) {
				change(w, w.node("node-1"), func(n *corev1.Node) { n.Labels = map[string]string{"edge": "yes"} })
			}, failover.WhyNodeUnfit},
		"its VIPNode is deleted, as the announcer was taken from it": {
			func(w *world) { w.setVIPNode("node-1", nil) },
			func(w *world) { w.setVIPNode("node-1", aNode(1)[1].(*v1alpha1.VIPNode)) }, failover.WhyNodeUnfit},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := guarded(t, 3)
			tt.event(w)
			w.settle()
			w.wants("role of the standby", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
			w.wants("release before the new one announces", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationRelease], "")
			w.announce("192-0-2-10-2", "node-2")
			w.settle()
			w.gone(&corev1.Pod{}, "192-0-2-10-1")
			if move := w.vip("192-0-2-10").Status.LastMove; move == nil || move.To != "node-2" || move.Reason != tt.reason {
				t.Errorf("last move %+v", move)
			}
			w.guard("192-0-2-10-3", "node-3")
			w.settle()
			tt.over(w)
			w.settle()
			w.pass(time.Hour)
			w.wants("where it is when it is over", w.vip("192-0-2-10").Status.Node, "node-2")
			w.wants("and its places", w.peersOf("192-0-2-10-2"), "active node-2, standby node-3, previous node-1")
		})
	}
}

func TestALostCarrierMovesAlsoWhatTheNodeNoLongerAnnounces(t *testing.T) {
	w := guarded(t, 3)
	change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.Interfaces[0].Carrier = false })
	w.says("192-0-2-10-1", "node-1", false, false, placeholder.ReasonNoInterface) // the announcer knows before we do
	w.settle()
	w.wants("role of the standby", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	if s := w.vipNode("node-1").Spec.Suspect; s != nil {
		t.Errorf("a node that says itself what it lacks is suspect: %+v", s)
	}
}

func TestATaintMovesNothingByItself(t *testing.T) {
	for _, effect := range []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule} {
		t.Run(string(effect), func(t *testing.T) {
			w := guarded(t, 3)
			w.taint("node-1", effect)
			w.taint("node-2", effect)
			w.writes = nil
			w.pass(time.Hour)
			if len(w.writes) > 0 {
				t.Errorf("writes %q", w.writes)
			}
		})
	}
}

// The taint manager deletes the placeholders that don't tolerate the taint.
func TestATaintThatEvictsMovesTheVIPAndNothingGoesBack(t *testing.T) {
	w := guarded(t, 3)
	w.taint("node-1", corev1.TaintEffectNoExecute)
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Finalizers = []string{"test/kubelet"} })
	w.delete(w.pod("192-0-2-10-1"))
	w.settle()
	w.wants("role of the standby", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	w.wants("release before the new one announces", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationRelease], "")
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.wants("reason", w.vip("192-0-2-10").Status.LastMove.Reason, failover.WhyDeleted)
	w.guard("192-0-2-10-3", "node-3")
	w.settle()
	change(w, w.node("node-1"), func(n *corev1.Node) { n.Spec.Taints = nil })
	w.pass(time.Hour)
	w.wants("where it is", w.vip("192-0-2-10").Status.Node, "node-2")
}

// An announcer that is stopped for good leaves its VIPNode; its addresses run out in the kernel, and the standby takes over then.
func TestAnAnnouncerThatIsStoppedForGoodLosesItsVIPsByTheirLifetime(t *testing.T) {
	w := guarded(t, 3)
	w.pass(time.Minute) // it still answers
	w.wants("role of the standby", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "standby")
	w.says("192-0-2-10-2", "node-2", true, true, placeholder.ReasonTookOver)
	w.settle()
	w.wants("role of the standby", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	if s := w.vipNode("node-1").Spec.Suspect; s == nil || s.Reason != failover.FellSilent {
		t.Errorf("nothing keeps VIPs off a node without an announcer: %+v", s)
	}
}

// What waits for a node goes by what the pool wants now, not by what it wanted when it was made.
func TestAPlaceholderThatWaitsFollowsItsPool(t *testing.T) {
	pool := aPool("main", "192.0.2.10")
	pool.Spec.NodeSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"edge": "yes"}}
	w := newWorld(t, append(append(aNode(1), aNode(2)...), pool, aService("web"))...)
	w.settle()
	if w.pod("192-0-2-10-1").Spec.Affinity == nil {
		t.Fatal("the first placeholder has no affinity: this test shows nothing")
	}
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { // as admission may do
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "added", Operator: corev1.TolerationOpExists})
	})
	w.writes = nil
	w.settle()
	if len(w.writes) > 0 {
		t.Errorf("writes %q about what others added", w.writes)
	}
	change(w, w.pool("main"), func(p *v1alpha1.VIPPool) {
		p.Spec.NodeSelector = nil
		p.Spec.Tolerations = []corev1.Toleration{{Key: "edge", Operator: corev1.TolerationOpExists}}
	})
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	next := w.pod("192-0-2-10-2")
	if next.Spec.Affinity != nil || len(next.Spec.Tolerations) == 0 || next.Spec.Tolerations[len(next.Spec.Tolerations)-1].Key != "edge" {
		t.Errorf("affinity %+v, tolerations %+v", next.Spec.Affinity, next.Spec.Tolerations)
	}
}

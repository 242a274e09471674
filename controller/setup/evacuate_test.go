package setup

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/failover"
)

// evacuate labels a node as kubectl-evenkeel does, or takes the label off.
func (w *world) evacuate(node string, yes bool) {
	w.t.Helper()
	var n corev1.Node
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: node}, &n); err != nil {
		w.t.Fatal(err)
	}
	change(w, &n, func(n *corev1.Node) {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		delete(n.Labels, placeholder.LabelEvacuate)
		if yes {
			n.Labels[placeholder.LabelEvacuate] = "true"
		}
	})
}

func TestAnEvacuatedNodeIsLeftAndNothingComesBackWhenThatIsUndone(t *testing.T) {
	w := guarded(t, 3)
	w.evacuate("node-1", true)
	w.settle()
	w.wants("the standby's role", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	w.pod("192-0-2-10-1") // it holds the VIP until the successor announces
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.wants("reason", w.vip("192-0-2-10").Status.LastMove.Reason, failover.WhyEvacuated)
	w.guard("192-0-2-10-3", "node-3")
	w.settle()
	w.evacuate("node-1", false)
	w.writes = nil
	w.settle()
	if len(w.writes) > 0 {
		t.Errorf("after the evacuation was undone: %q", w.writes)
	}
}

func TestAStandbyLeavesAnEvacuatedNodeOnceAnotherGuards(t *testing.T) {
	w := guarded(t, 3)
	w.evacuate("node-2", true)
	w.settle()
	w.pod("192-0-2-10-2") // it guards until another one does
	w.guard("192-0-2-10-3", "node-3")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	w.wants("who announces", w.vip("192-0-2-10").Status.Node, "node-1")
}

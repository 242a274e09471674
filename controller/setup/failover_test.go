package setup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
)

// aNode is a node on the segment, with its announcer: number 1 to 9.
func aNode(number int) []client.Object {
	name := fmt.Sprintf("node-%d", number)
	return []client.Object{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}},
		&v1alpha1.VIPNode{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.VIPNodeStatus{Interfaces: []v1alpha1.NodeInterface{
			{Name: "eth0", MAC: fmt.Sprintf("02:00:00:00:00:0%d", number), Addresses: []string{fmt.Sprintf("192.0.2.10%d/24", number)}, Carrier: true},
		}}},
	}
}

// guarded is a world of nodes with one Service, active on node-1 and with a standby on node-2.
func guarded(t *testing.T, count int) *world {
	t.Helper()
	objects := []client.Object{aPool("main", "192.0.2.10")}
	for i := range count {
		objects = append(objects, aNode(i+1)...)
	}
	w := newWorld(t, append(objects, aService("web"))...)
	w.settle()
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	w.guard("192-0-2-10-2", "node-2")
	w.settle()
	w.told()
	return w
}

// guard plays scheduler and announcer for a standby.
func (w *world) guard(pod, node string) { w.says(pod, node, true, false, placeholder.ReasonGuarding) }

func (w *world) says(pod, node string, ready, announced bool, reason string) {
	w.t.Helper()
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}
	change(w, w.pod(pod), func(p *corev1.Pod) {
		p.Spec.NodeName = node
		p.Status.Phase = corev1.PodRunning
		setCondition(p, placeholder.ConditionReady, status[ready], reason, "")
		setCondition(p, placeholder.ConditionAnnounced, status[announced], reason, "")
	})
}

func (w *world) vipNode(name string) *v1alpha1.VIPNode {
	w.t.Helper()
	var n v1alpha1.VIPNode
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: name}, &n); err != nil {
		w.t.Fatal(err)
	}
	return &n
}

func (w *world) peersOf(pod string) string {
	w.t.Helper()
	peers, err := placeholder.ParsePeers(w.pod(pod).Annotations[placeholder.AnnotationPeers])
	if err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, peer := range peers {
		role := string(peer.Role)
		if role == "" {
			role = "previous"
		}
		texts = append(texts, role+" "+peer.Node)
	}
	return strings.Join(texts, ", ")
}

func TestAStandbyIsMadeOnceTheActiveAnnouncesAndBothKnowEachOther(t *testing.T) {
	w := newWorld(t, append(append(aNode(1), aNode(2)...), aPool("main", "192.0.2.10"), aService("web"))...)
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	w.announce("192-0-2-10-1", "node-1")
	w.settle()
	standby := w.pod("192-0-2-10-2")
	if placeholder.RoleOf(standby) != placeholder.Standby || placeholder.Term(standby) != 1 {
		t.Errorf("labels %v, annotations %v: want a standby of the active's term", standby.Labels, standby.Annotations)
	}
	w.wants("what the standby knows", w.peersOf("192-0-2-10-2"), "active node-1")
	w.guard("192-0-2-10-2", "node-2")
	w.settle()
	w.wants("what the active knows", w.peersOf("192-0-2-10-1"), "active node-1, standby node-2")
	v := w.vip("192-0-2-10")
	if !meta.IsStatusConditionTrue(v.Status.Conditions, v1alpha1.VIPGuarded) || strings.Join(v.Status.StandbyNodes, ",") != "node-2" {
		t.Errorf("status %+v", v.Status)
	}
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 {
		t.Errorf("writes in steady state: %q", w.writes)
	}
}

func TestATakeoverBecomesTheTruth(t *testing.T) {
	w := guarded(t, 3)
	w.says("192-0-2-10-2", "node-2", true, true, placeholder.ReasonTookOver)
	w.settle()
	taker := w.pod("192-0-2-10-2")
	if placeholder.RoleOf(taker) != placeholder.Active || placeholder.Term(taker) != 2 {
		t.Fatalf("the taker is %s in term %d", placeholder.RoleOf(taker), placeholder.Term(taker))
	}
	w.wants("what it knows", w.peersOf("192-0-2-10-2"), "active node-2, previous node-1")
	s := w.vipNode("node-1").Spec.Suspect
	if s == nil || s.Reason != failover.FellSilent || s.ID == "" {
		t.Fatalf("node-1 is suspect: %+v", s)
	}
	w.pod("192-0-2-10-1") // stays until the taker says that it knows its new role
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	move := w.vip("192-0-2-10").Status.LastMove
	if move == nil || move.From != "node-1" || move.To != "node-2" || move.Reason != failover.WhyNodeSilent {
		t.Errorf("last move %+v", move)
	}
	w.wantsTold("Normal Moved 192.0.2.10 moved from node-1 to node-2: NodeSilent")
	w.guard("192-0-2-10-3", "node-3")
	w.settle()
	if !meta.IsStatusConditionTrue(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPGuarded) {
		t.Error("the new standby guards, and the VIP doesn't say so")
	}
	change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.SuspectAcknowledged = "another" })
	w.settle()
	if w.vipNode("node-1").Spec.Suspect == nil {
		t.Error("another suspicion's acknowledgement ended this one")
	}
	change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.SuspectAcknowledged = s.ID })
	w.writes = nil
	w.settle()
	if w.vipNode("node-1").Spec.Suspect != nil {
		t.Error("the acknowledgement did not end the suspicion")
	}
	for _, write := range w.writes {
		if strings.Contains(write, "Pod") {
			t.Errorf("a node's return has written %q", write)
		}
	}
}

func TestAnEvictedActiveIsSucceededByItsStandbyInOneWrite(t *testing.T) {
	w := guarded(t, 3)
	change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Finalizers = []string{"test/kubelet"} })
	w.delete(w.pod("192-0-2-10-1"))
	w.watch()
	w.writes = nil
	w.reconcile(w.vips, "", "192-0-2-10")
	if len(w.writes) != 1 || w.writes[0] != "patch v1.Pod 192-0-2-10-2" {
		t.Errorf("writes %q, want the promotion alone", w.writes)
	}
	w.wants("role", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	w.settle()
	w.wants("release before the successor announces", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationRelease], "")
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.wants("release once it does", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationRelease], "true")
	w.wants("last move's reason", w.vip("192-0-2-10").Status.LastMove.Reason, failover.WhyDeleted)
	if s := w.vipNode("node-1").Spec.Suspect; s != nil {
		t.Errorf("a drained node is suspect: %+v", s)
	}
	w.wants("the next standby's role", w.pod("192-0-2-10-3").Labels[placeholder.LabelRole], "standby")
}

func TestANodeThatLosesItsCarrierIsLeftForTheStandby(t *testing.T) {
	w := guarded(t, 3)
	change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.Interfaces[0].Carrier = false })
	w.settle()
	w.wants("role", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	w.pod("192-0-2-10-1") // it may still answer
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.wants("reason", w.vip("192-0-2-10").Status.LastMove.Reason, failover.WhyNodeUnfit)
}

func TestACordonMovesNothing(t *testing.T) {
	w := guarded(t, 3)
	for _, name := range []string{"node-1", "node-2"} {
		var n corev1.Node
		if err := w.c.Get(w.ctx, types.NamespacedName{Name: name}, &n); err != nil {
			t.Fatal(err)
		}
		change(w, &n, func(n *corev1.Node) { n.Spec.Unschedulable = true })
	}
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 {
		t.Errorf("writes %q", w.writes)
	}
}

func TestANodeThatIsNotReadyForAMinuteIsLeft(t *testing.T) {
	w := guarded(t, 3)
	var n corev1.Node
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: "node-1"}, &n); err != nil {
		t.Fatal(err)
	}
	change(w, &n, func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: metav1.NewTime(w.clock.Now())}}
	})
	w.pass(58 * time.Second)
	w.wants("role before a minute", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "standby")
	if wait := w.reconcile(w.vips, "", "192-0-2-10").RequeueAfter; wait <= 0 || wait > 2*time.Second {
		t.Errorf("it is looked at again after %s", wait)
	}
	w.pass(2 * time.Second)
	w.wants("role after a minute", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.wants("reason", w.vip("192-0-2-10").Status.LastMove.Reason, failover.WhyNodeSick)
}

func TestAnAnnouncerThatDoesNotReportMakesItsNodeSuspect(t *testing.T) {
	bound := func(t *testing.T) *world {
		w := newWorld(t, append(append(aNode(1), aNode(2)...), aPool("main", "192.0.2.10"), aService("web"))...)
		w.settle()
		change(w, w.pod("192-0-2-10-1"), func(p *corev1.Pod) { p.Spec.NodeName = "node-1" })
		w.settle()
		return w
	}
	t.Run("after two seconds, and the VIP is placed elsewhere", func(t *testing.T) {
		w := bound(t)
		w.pass(time.Second)
		if w.vipNode("node-1").Spec.Suspect != nil {
			t.Error("suspect after a second")
		}
		w.pass(time.Second)
		if s := w.vipNode("node-1").Spec.Suspect; s == nil || s.Reason != failover.NoReport {
			t.Fatalf("suspect: %+v", s)
		}
		w.wants("role of the new one", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
		w.announce("192-0-2-10-2", "node-2")
		w.settle()
		w.gone(&corev1.Pod{}, "192-0-2-10-1")
	})
	t.Run("not while the API server is slow", func(t *testing.T) {
		w := bound(t)
		w.health.slowest = 3 * time.Second
		w.pass(13 * time.Second)
		if s := w.vipNode("node-1").Spec.Suspect; s != nil {
			t.Errorf("suspect: %+v", s)
		}
	})
	t.Run("counted anew after trouble with the API server", func(t *testing.T) {
		w := bound(t)
		w.clock.Step(time.Second)
		w.health.trouble = w.clock.Now()
		w.pass(1900 * time.Millisecond)
		if s := w.vipNode("node-1").Spec.Suspect; s != nil {
			t.Errorf("suspect: %+v", s)
		}
	})
}

func TestNeighboursThatFallSilentAreSuspectOnce(t *testing.T) {
	w := guarded(t, 3)
	if n := w.vipNode("node-3").Spec.Neighbours; len(n) != 2 || n[0].Node != "node-1" || n[0].Address != "192.0.2.101" || n[0].MAC != "02:00:00:00:00:01" {
		t.Fatalf("neighbours %+v", n)
	}
	change(w, w.vipNode("node-3"), func(n *v1alpha1.VIPNode) { n.Status.SilentNeighbours = []string{"node-2"} })
	w.settle()
	s := w.vipNode("node-2").Spec.Suspect
	if s == nil || s.Reason != failover.FellSilent {
		t.Fatalf("suspect: %+v", s)
	}
	w.gone(&corev1.Pod{}, "192-0-2-10-2") // a standby that guards nothing any more
	if term := placeholder.Term(w.pod("192-0-2-10-1")); term < 2 {
		t.Errorf("the active's term is %d: what the standby may have claimed on its side of a split still counts", term)
	}
	w.wants("its successor's role", w.pod("192-0-2-10-3").Labels[placeholder.LabelRole], "standby")
	change(w, w.vipNode("node-2"), func(n *v1alpha1.VIPNode) { n.Status.SuspectAcknowledged = s.ID })
	w.settle()
	if w.vipNode("node-2").Spec.Suspect != nil {
		t.Error("an accusation that was dealt with counted again")
	}
}

func TestBothPlacesLostAtOnceIsHealed(t *testing.T) {
	w := guarded(t, 5)
	change(w, w.vipNode("node-5"), func(n *v1alpha1.VIPNode) { n.Status.SilentNeighbours = []string{"node-1", "node-2"} })
	w.settle()
	next := w.pod("192-0-2-10-3")
	w.wants("role", next.Labels[placeholder.LabelRole], "active")
	w.wants("what it knows", w.peersOf("192-0-2-10-3"), "standby node-2, previous node-1")
	w.announce("192-0-2-10-3", "node-3")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	w.wants("reason", w.vip("192-0-2-10").Status.LastMove.Reason, failover.WhyNodeSilent)
}

func TestAServiceCanRefuseHandoff(t *testing.T) {
	w := guarded(t, 2)
	change(w, w.service("web"), func(s *corev1.Service) { s.Annotations = map[string]string{placeholder.AnnotationHandoff: "false"} })
	w.settle()
	for _, name := range []string{"192-0-2-10-1", "192-0-2-10-2"} {
		w.wants("handoff", w.pod(name).Annotations[placeholder.AnnotationHandoff], "false")
	}
	change(w, w.service("web"), func(s *corev1.Service) { s.Annotations[placeholder.AnnotationHandoff] = "off" })
	w.settle()
	w.wantsTold(`annotation evenkeel.io/handoff: "off" is neither "true" nor "false"`)
	w.wants("handoff", w.pod("192-0-2-10-1").Annotations[placeholder.AnnotationHandoff], "")
}

func TestStandbysAreCountedByTheServiceThenThePool(t *testing.T) {
	w := guarded(t, 4)
	change(w, w.service("web"), func(s *corev1.Service) { s.Annotations = map[string]string{placeholder.AnnotationStandbys: "2"} })
	w.settle()
	w.guard("192-0-2-10-3", "node-3")
	w.settle()
	w.wants("succession", w.peersOf("192-0-2-10-1"), "active node-1, standby node-2, standby node-3")
	change(w, w.service("web"), func(s *corev1.Service) { s.Annotations[placeholder.AnnotationStandbys] = "many" })
	w.settle()
	w.wantsTold(`annotation evenkeel.io/standbys: "many" is not 0, 1 or 2`)
	w.gone(&corev1.Pod{}, "192-0-2-10-3") // the pool's one
	change(w, w.service("web"), func(s *corev1.Service) { s.Annotations[placeholder.AnnotationStandbys] = "0" })
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	if meta.IsStatusConditionTrue(w.vip("192-0-2-10").Status.Conditions, v1alpha1.VIPGuarded) {
		t.Error("guarded without a standby")
	}
}

func TestALeavingStandbyGoesWhenAnotherIsOnGuard(t *testing.T) {
	w := guarded(t, 3)
	change(w, w.pod("192-0-2-10-2"), func(p *corev1.Pod) { p.Annotations[placeholder.AnnotationLeaving] = "true" })
	w.settle()
	w.pod("192-0-2-10-2")
	w.says("192-0-2-10-3", "node-3", false, false, placeholder.ReasonNotHeard)
	w.settle()
	w.pod("192-0-2-10-2")
	w.guard("192-0-2-10-3", "node-3")
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-10-2")
	w.wants("succession", w.peersOf("192-0-2-10-1"), "active node-1, standby node-3")
}

func TestANodeThatAnswersForAllVIPsIsToldOf(t *testing.T) {
	w := guarded(t, 2)
	change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) {
		meta.SetStatusCondition(&n.Status.Conditions, metav1.Condition{Type: v1alpha1.NodeStrictARP, Status: metav1.ConditionFalse, Reason: "IPVS", Message: "set ipvs.strictARP: true"})
	})
	w.settle()
	w.wantsTold("Warning IPVS set ipvs.strictARP: true")
	w.pass(time.Hour)
	w.wants("told again", w.told(), "")
}

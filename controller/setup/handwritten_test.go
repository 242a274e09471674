package setup

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
)

// aVIPPod is a placeholder as a person, or a person's Deployment, makes one.
func aVIPPod(name, address string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name,
			Labels:      map[string]string{placeholder.LabelVIP: placeholder.VIPName(netip.MustParseAddr(address)), "app": "gateway"},
			Annotations: map[string]string{placeholder.AnnotationAddresses: address, placeholder.AnnotationPorts: "tcp/8443"}},
		Spec: corev1.PodSpec{SchedulerName: placeholder.SchedulerName, HostNetwork: true, Containers: []corev1.Container{{Name: "hold", Image: "pause"}}},
	}
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func standbys(n string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[placeholder.AnnotationStandbys] = n }
}

// gateway is a world of nodes with a hand-written placeholder on node-1 that has one guard, on node-2.
func gateway(t *testing.T, nodes int) *world {
	t.Helper()
	var objects []client.Object
	for i := range nodes {
		objects = append(objects, aNode(i+1)...)
	}
	w := newWorld(t, append(objects, aVIPPod("gateway-a", "192.0.2.200", standbys("1")))...)
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-200-guard-1")
	w.announce("gateway-a", "node-1")
	w.settle()
	w.guard("192-0-2-200-guard-1", "node-2")
	w.settle()
	w.told()
	return w
}

func TestAHandWrittenPlaceholderThatAsksForNothingIsLeftAlone(t *testing.T) {
	w := newWorld(t, append(aNode(1), aVIPPod("gateway-a", "192.0.2.200"))...)
	w.writes = nil
	w.settle()
	w.announce("gateway-a", "node-1")
	w.pass(time.Hour)
	if len(w.writes) > 0 {
		t.Errorf("writes %q", w.writes)
	}
}

func TestAHandWrittenPlaceholderIsGuardedIfAsked(t *testing.T) {
	w := gateway(t, 3)
	guard := w.pod("192-0-2-200-guard-1")
	owner := metav1.GetControllerOf(guard)
	if owner == nil || owner.Kind != "Pod" || owner.Name != "gateway-a" || placeholder.RoleOf(guard) != placeholder.Standby {
		t.Errorf("the guard %+v", guard.ObjectMeta)
	}
	parsed, err := placeholder.Parse(guard)
	if err != nil || placeholder.FormatPorts(parsed.Ports) != "tcp/8443" || placeholder.FormatAddresses(parsed.Addresses) != "192.0.2.200" || parsed.Service.Name != "" {
		t.Errorf("it stands by as %+v, %v", parsed, err)
	}
	w.wants("what the guard knows", w.peersOf("192-0-2-200-guard-1"), "active node-1")
	w.wants("what the active knows", w.peersOf("gateway-a"), "active node-1, standby node-2")
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 {
		t.Errorf("writes in steady state: %q", w.writes)
	}
	change(w, w.pod("gateway-a"), standbys("0"))
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-200-guard-1")
	change(w, w.pod("gateway-a"), standbys("many"))
	w.settle()
	w.wantsTold(`Warning InvalidRequest annotation evenkeel.io/standbys: "many" is not 0, 1 or 2`)
}

func TestADeploymentsNextPodTakesTheVIPOver(t *testing.T) {
	w := gateway(t, 3)
	w.clock.Step(time.Minute)
	w.create(aVIPPod("gateway-b", "192.0.2.200", standbys("1"))) // a rollout
	w.settle()
	w.wants("what the new one knows before it has a node", w.peersOf("gateway-b"), "active node-1, standby node-2")
	if term := placeholder.Term(w.pod("gateway-b")); term != 1 {
		t.Errorf("its term is %d", term)
	}
	w.announce("gateway-b", "node-3")
	w.settle()
	w.wants("what it knows then", w.peersOf("gateway-b"), "active node-3, standby node-2, previous node-1")
	w.wants("what the guard knows", w.peersOf("192-0-2-200-guard-1"), "active node-3, standby node-2, previous node-1")
	w.wants("what the old one knows", w.peersOf("gateway-a"), "active node-3, standby node-2, previous node-1")
	if owner := metav1.GetControllerOf(w.pod("192-0-2-200-guard-1")); owner.Name != "gateway-b" {
		t.Errorf("the guard would go with %s", owner.Name)
	}
	w.delete(w.pod("gateway-a")) // as the Deployment does, now that the new one is ready
	w.writes = nil
	w.pass(time.Minute)
	w.pass(time.Hour)
	if len(w.writes) > 2 {
		t.Errorf("writes %q", w.writes)
	}
	w.pod("192-0-2-200-guard-1")
}

func TestAGuardThatTookOverKeepsTheVIPUntilItsPodCanHaveItAgain(t *testing.T) {
	w := gateway(t, 3)
	w.says("192-0-2-200-guard-1", "node-2", true, true, placeholder.ReasonTookOver) // node-1 fell silent
	w.settle()
	if s := w.vipNode("node-1").Spec.Suspect; s == nil || s.Reason != failover.FellSilent {
		t.Errorf("suspicion %+v", s)
	}
	w.pod("gateway-a") // what people write is theirs to delete
	w.pass(10 * time.Minute)
	w.pod("192-0-2-200-guard-1")

	// It was only away for a while: its announcer finds the VIP claimed and gives way.
	change(w, w.vipNode("node-1"), func(n *v1alpha1.VIPNode) { n.Status.SuspectAcknowledged = n.Spec.Suspect.ID })
	change(w, w.pod("gateway-a"), func(p *corev1.Pod) {
		p.Status.Conditions = nil
		p.Status.Conditions = append(p.Status.Conditions,
			corev1.PodCondition{Type: placeholder.ConditionReady, Status: corev1.ConditionFalse, Reason: placeholder.ReasonSuperseded, LastTransitionTime: metav1.NewTime(w.clock.Now())},
			corev1.PodCondition{Type: placeholder.ConditionAnnounced, Status: corev1.ConditionFalse, Reason: placeholder.ReasonSuperseded, LastTransitionTime: metav1.NewTime(w.clock.Now())})
	})
	w.settle()
	if term := placeholder.Term(w.pod("gateway-a")); term != 0 {
		t.Fatalf("the VIP goes back at once, in term %d", term)
	}
	w.clock.Step(30 * time.Second)
	w.watch()
	if wait := w.reconcile(w.vips, "", "192-0-2-200").RequeueAfter; wait <= 0 || wait > 31*time.Second {
		t.Errorf("looked at again after %s", wait)
	}
	w.clock.Step(31 * time.Second)
	w.watch()
	w.reconcile(w.vips, "", "192-0-2-200")
	active, guard := w.pod("gateway-a"), w.pod("192-0-2-200-guard-1")
	if placeholder.Term(active) != 1 || placeholder.Term(guard) != 1 {
		t.Errorf("terms %d and %d, want a new one", placeholder.Term(active), placeholder.Term(guard))
	}
	w.announce("gateway-a", "node-1")
	w.guard("192-0-2-200-guard-1", "node-2")
	w.writes = nil
	w.pass(time.Hour)
	if len(w.writes) > 0 {
		t.Errorf("writes %q after it has gone back", w.writes)
	}
}

func TestAHandWrittenPlaceholderThatWasDrainedHandsTheVIPOn(t *testing.T) {
	w := gateway(t, 3)
	change(w, w.pod("gateway-a"), func(p *corev1.Pod) { p.Finalizers = []string{"test/kubelet"} })
	w.delete(w.pod("gateway-a"))
	w.settle()
	w.pod("192-0-2-200-guard-1")
	w.clock.Step(time.Second)
	w.create(aVIPPod("gateway-b", "192.0.2.200", standbys("1")))
	w.announce("gateway-b", "node-3")
	w.settle()
	if got := w.peersOf("gateway-b"); !strings.Contains(got, "active node-3, standby node-2, previous node-1") {
		t.Errorf("the new one knows %s", got)
	}
	if owner := metav1.GetControllerOf(w.pod("192-0-2-200-guard-1")); owner.Name != "gateway-b" {
		t.Errorf("the guard would go with %s", owner.Name)
	}
}

func TestOnTwoNodesTheGuardMakesRoomForADeploymentsNextPod(t *testing.T) {
	w := gateway(t, 2)
	w.clock.Step(time.Minute)
	w.create(aVIPPod("gateway-b", "192.0.2.200", standbys("1")))
	w.settle()
	w.gone(&corev1.Pod{}, "192-0-2-200-guard-1")
	w.announce("gateway-b", "node-2")
	w.settle()
	w.wants("what the new one knows", w.peersOf("gateway-b"), "active node-2, previous node-1")
	w.delete(w.pod("gateway-a"))
	w.settle()
	w.guard("192-0-2-200-guard-1", "node-1")
	w.settle()
	w.wants("what it knows then", w.peersOf("gateway-b"), "active node-2, standby node-1")
}

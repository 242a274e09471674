package setup

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/place"
)

const moved = "192-0-2-10" // the only VIP of these tests

// wish asks for a planned move.
func (w *world) wish(to, reason string) {
	w.t.Helper()
	change(w, w.vip(moved), func(vip *v1alpha1.VIP) {
		vip.Spec.Move = &v1alpha1.MoveRequest{To: to, Reason: reason, RequestedAt: metav1.NewTime(w.clock.Now())}
	})
}

func (w *world) wantsMoved(from, to, reason string) {
	w.t.Helper()
	vip := w.vip(moved)
	if vip.Spec.Move != nil {
		w.t.Errorf("the wish is still there: %+v", vip.Spec.Move)
	}
	w.wants("who announces", vip.Status.Node, to)
	if move := vip.Status.LastMove; move == nil || move.From != from || move.To != to || move.Reason != reason {
		w.t.Errorf("last move %+v", move)
	}
}

func TestAWishedMoveToTheStandbyIsAChangeOfRoles(t *testing.T) {
	w := guarded(t, 3)
	w.wish("node-2", v1alpha1.ReasonImbalance)
	w.settle()
	w.wants("the standby's role", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "active")
	w.wants("who announces meanwhile", w.vip(moved).Status.Node, "node-1")
	w.pod("192-0-2-10-1") // it holds the VIP until its successor announces
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.wantsMoved("node-1", "node-2", v1alpha1.ReasonImbalance)
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.wantsTold("Normal Moved 192.0.2.10 moved from node-1 to node-2: Imbalance")
}

func TestAWishedMoveToAnotherNodeMakesBeforeItBreaks(t *testing.T) {
	w := guarded(t, 3)
	w.wish("node-3", v1alpha1.ReasonNodeJoined)
	w.settle()
	successor := w.pod("192-0-2-10-3")
	w.wants("its role", successor.Labels[placeholder.LabelRole], "active")
	w.wants("the only node for it", place.Target(successor), "node-3")
	if before, after := placeholder.Term(w.pod("192-0-2-10-1")), placeholder.Term(successor); after <= before {
		t.Errorf("terms %d and %d", before, after)
	}
	w.says("192-0-2-10-3", "node-3", false, false, placeholder.ReasonProbing)
	w.settle()
	w.wants("who announces meanwhile", w.vip(moved).Status.Node, "node-1")
	w.announce("192-0-2-10-3", "node-3")
	w.settle()
	w.wantsMoved("node-1", "node-3", v1alpha1.ReasonNodeJoined)
	w.gone(&corev1.Pod{}, "192-0-2-10-1")
	w.wants("the standby's role", w.pod("192-0-2-10-2").Labels[placeholder.LabelRole], "standby")
	w.writes = nil
	w.pass(time.Minute)
	w.wants("writes afterwards", strings.Join(w.writes, ", "), "")
}

func TestAWishedMoveIsTakenBack(t *testing.T) {
	tests := map[string]struct {
		bound bool // the scheduler places it, and the announcer does nothing
		after time.Duration
		told  string
	}{
		"where the scheduler places nothing there": {after: 2 * time.Second,
			told: "Warning MoveFailed 192.0.2.10 stays where it is: it was to move to node node-3 (User), but the scheduler places nothing on node node-3"},
		"where the node doesn't announce it": {bound: true, after: 10 * time.Second,
			told: "Warning MoveFailed 192.0.2.10 stays where it is: it was to move to node node-3 (User), but node node-3 does not announce it"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := guarded(t, 3)
			w.wish("node-3", v1alpha1.ReasonUser)
			w.settle()
			if tt.bound {
				w.says("192-0-2-10-3", "node-3", false, false, placeholder.ReasonNoInterface)
			}
			w.pass(tt.after - time.Second)
			w.wants("told too early", w.told(), "")
			w.pass(time.Second)
			w.wantsTold(tt.told)
			w.pass(time.Second)
			vip := w.vip(moved)
			if vip.Spec.Move != nil || vip.Status.LastMove != nil || vip.Status.Node != "node-1" {
				t.Errorf("wish %+v, last move %+v, on %s", vip.Spec.Move, vip.Status.LastMove, vip.Status.Node)
			}
			w.gone(&corev1.Pod{}, "192-0-2-10-3")
			if before, after := placeholder.Term(w.pod("192-0-2-10-2")), placeholder.Term(w.pod("192-0-2-10-1")); after < before || after < 3 {
				t.Errorf("the term is %d, the standby's %d", after, before)
			}
			w.writes = nil
			w.pass(time.Minute)
			w.wants("writes afterwards", strings.Join(w.writes, ", "), "")
		})
	}
}

func TestAWishThatCannotBeMetEndsAtOnce(t *testing.T) {
	w := guarded(t, 2)
	w.wish("node-9", v1alpha1.ReasonUser)
	w.settle()
	w.wantsTold("Warning MoveFailed 192.0.2.10 stays where it is: it was to move to node node-9 (User), but node node-9 can't take it now (NoAnnouncer)")
	if vip := w.vip(moved); vip.Spec.Move != nil || vip.Status.Node != "node-1" {
		t.Errorf("%+v on %s", vip.Spec.Move, vip.Status.Node)
	}
}

func TestAWishedMoveOutlivesTheController(t *testing.T) {
	w := guarded(t, 3)
	w.wish("node-3", v1alpha1.ReasonNodeJoined)
	w.settle()
	w.restart()
	w.settle()
	w.announce("192-0-2-10-3", "node-3")
	w.restart()
	w.settle()
	w.wantsMoved("node-1", "node-3", v1alpha1.ReasonNodeJoined)
	w.gone(&corev1.Pod{}, "192-0-2-10-4")
}

func TestTheAnnotationIsAWishOfTheUsers(t *testing.T) {
	w := guarded(t, 3)
	order := func(to string) {
		change(w, w.vip(moved), func(vip *v1alpha1.VIP) { vip.Annotations = map[string]string{placeholder.AnnotationMoveTo: to} })
		w.settle()
	}
	order("Not A Node")
	if vip := w.vip(moved); len(vip.Annotations) > 0 || vip.Spec.Move != nil {
		t.Errorf("annotations %v, wish %+v", vip.Annotations, vip.Spec.Move)
	}
	order("node-2")
	if vip := w.vip(moved); len(vip.Annotations) > 0 || vip.Spec.Move == nil || vip.Spec.Move.Reason != v1alpha1.ReasonUser {
		t.Errorf("annotations %v, wish %+v", vip.Annotations, vip.Spec.Move)
	}
	w.announce("192-0-2-10-2", "node-2")
	w.settle()
	w.wantsMoved("node-1", "node-2", v1alpha1.ReasonUser)
}

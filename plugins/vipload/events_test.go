package vipload

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/placeholder"
)

var klogger = klog.Background()

func TestEventsToRegister(t *testing.T) {
	events, err := newTestPlugin(t).EventsToRegister(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []fwk.ClusterEvent
	for _, event := range events {
		got = append(got, event.Event)
	}
	want := []fwk.ClusterEvent{
		{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel | fwk.UpdateNodeAnnotation},
		{Resource: fwk.AssignedPod, ActionType: fwk.Add | fwk.Update | fwk.Delete},
		{Resource: fwk.TargetPod, ActionType: fwk.Update},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestHints(t *testing.T) {
	pl := newTestPlugin(t)
	pl.nodes.set("known", eligible.Facts{})
	full := newTestPlugin(t)
	full.limited.Store(true)
	lenient := newTestPlugin(t)
	lenient.ignoreExcludeLabel = true
	lenient.nodes.set("known", eligible.Facts{})
	plain := func(name string) *corev1.Node { return st.MakeNode().Name(name).Obj() }
	labelled := st.MakeNode().Name("known").Label(corev1.LabelNodeExcludeBalancers, "true").Obj()
	evacuating := st.MakeNode().Name("known").Label(placeholder.LabelEvacuate, "true").Obj()
	both := st.MakeNode().Name("known").Label(placeholder.LabelEvacuate, "true").Label(corev1.LabelNodeExcludeBalancers, "true").Obj()
	pod := vipPod("p", "192.0.2.10").Obj()
	other := func() *st.PodWrapper { return vipPod("q", "192.0.2.10").Node("n") }

	standby := standbyPod("s", "192.0.2.10").Obj()
	tests := []struct {
		name        string
		pod         *corev1.Pod // pod by default
		hint        fwk.QueueingHintFn
		before, now any
		want        fwk.QueueingHint
		wantErr     bool
	}{
		{name: "a new node with an announcer", hint: pl.isSchedulableAfterNodeChange, now: plain("known"), want: fwk.Queue},
		{name: "a new node without an announcer", hint: pl.isSchedulableAfterNodeChange, now: plain("unknown"), want: fwk.QueueSkip},
		{name: "a new node that is excluded", hint: pl.isSchedulableAfterNodeChange, now: labelled, want: fwk.QueueSkip},
		{name: "a new node whose label is ignored", hint: lenient.isSchedulableAfterNodeChange, now: labelled, want: fwk.Queue},
		{name: "the exclude label goes", hint: pl.isSchedulableAfterNodeChange, before: labelled, now: plain("known"), want: fwk.Queue},
		{name: "the evacuate label goes", hint: pl.isSchedulableAfterNodeChange, before: evacuating, now: plain("known"), want: fwk.Queue},
		{name: "the evacuate label comes", hint: pl.isSchedulableAfterNodeChange, before: plain("known"), now: evacuating, want: fwk.QueueSkip},
		{name: "the exclude label goes, and the node is still evacuated", hint: pl.isSchedulableAfterNodeChange, before: both, now: evacuating, want: fwk.QueueSkip},
		{name: "a node whose exclude label is ignored is evacuated", hint: lenient.isSchedulableAfterNodeChange, before: labelled, now: both, want: fwk.QueueSkip},
		{name: "the exclude label comes", hint: pl.isSchedulableAfterNodeChange, before: plain("known"), now: labelled, want: fwk.QueueSkip},
		{name: "another label changes", hint: pl.isSchedulableAfterNodeChange, before: plain("known"), now: st.MakeNode().Name("known").Label("a", "b").Obj(), want: fwk.QueueSkip},
		{name: "no node at all", hint: pl.isSchedulableAfterNodeChange, now: pod, want: fwk.Queue, wantErr: true},

		{name: "the VIP's other placeholder is gone", hint: pl.isSchedulableAfterPodChange, before: other().Obj(), want: fwk.Queue},
		{name: "the VIP's other placeholder is being deleted", hint: pl.isSchedulableAfterPodChange, before: other().Obj(), now: other().Terminating().Obj(), want: fwk.Queue},
		{name: "the VIP's other placeholder is being deleted already", hint: pl.isSchedulableAfterPodChange, before: other().Terminating().Obj(), now: other().Terminating().Obj(), want: fwk.QueueSkip},
		{name: "the VIP's other placeholder reports", hint: pl.isSchedulableAfterPodChange, before: other().Obj(), now: other().Condition(placeholder.ConditionReady, corev1.ConditionTrue, "").Obj(), want: fwk.QueueSkip},
		{name: "another VIP's placeholder is gone", hint: pl.isSchedulableAfterPodChange, before: vipPod("q", "192.0.2.11").Obj(), want: fwk.QueueSkip},
		{name: "another VIP of the pool is gone, and the pool has a limit", pod: limitedPod("p", "192.0.2.10", "office", "3"), hint: pl.isSchedulableAfterPodChange, before: limitedPod("q", "192.0.2.11", "office", "3"), want: fwk.Queue},
		{name: "another VIP of the pool reports", pod: limitedPod("p", "192.0.2.10", "office", "3"), hint: pl.isSchedulableAfterPodChange, before: limitedPod("q", "192.0.2.11", "office", "3"), now: limitedPod("q", "192.0.2.11", "office", "3"), want: fwk.QueueSkip},
		{name: "a VIP of another pool is gone", pod: limitedPod("p", "192.0.2.10", "office", "3"), hint: pl.isSchedulableAfterPodChange, before: limitedPod("q", "192.0.2.11", "lab", "3"), want: fwk.QueueSkip},
		{name: "any VIP is gone, and a node was full", hint: full.isSchedulableAfterPodChange, before: vipPod("q", "192.0.2.11").Obj(), want: fwk.Queue},
		{name: "a node takes more VIPs", hint: pl.isSchedulableAfterNodeChange, before: plain("known"), now: st.MakeNode().Name("known").Annotation(placeholder.AnnotationMaxVIPs, "9").Obj(), want: fwk.Queue},
		{name: "another annotation changes", hint: pl.isSchedulableAfterNodeChange, before: plain("known"), now: st.MakeNode().Name("known").Annotation("a", "b").Obj(), want: fwk.QueueSkip},
		{name: "any other pod is gone", hint: pl.isSchedulableAfterPodChange, before: st.MakePod().Name("web").Obj(), want: fwk.QueueSkip},
		{name: "no pod at all", hint: pl.isSchedulableAfterPodChange, before: labelled, want: fwk.Queue, wantErr: true},

		{name: "a standby's active gets its node", pod: standby, hint: pl.isSchedulableAfterPodChange, now: other().Obj(), want: fwk.Queue},
		{name: "a standby's peer becomes the active", pod: standby, hint: pl.isSchedulableAfterPodChange, before: standbyPod("q", "192.0.2.10").Node("n").Obj(), now: other().Obj(), want: fwk.Queue},
		{name: "another standby gets its node", pod: standby, hint: pl.isSchedulableAfterPodChange, now: standbyPod("q", "192.0.2.10").Node("n").Obj(), want: fwk.QueueSkip},
		{name: "another VIP's active gets its node", pod: standby, hint: pl.isSchedulableAfterPodChange, now: vipPod("q", "192.0.2.11").Node("n").Obj(), want: fwk.QueueSkip},
		{name: "an active hears of another active", hint: pl.isSchedulableAfterPodChange, now: other().Obj(), want: fwk.QueueSkip},

		{name: "its annotations are corrected", hint: isSchedulableAfterOwnUpdate, before: pod, now: vipPod("p", "192.0.2.12").Obj(), want: fwk.Queue},
		{name: "only its status changes", hint: isSchedulableAfterOwnUpdate, before: pod, now: vipPod("p", "192.0.2.10").Phase(corev1.PodPending).Obj(), want: fwk.QueueSkip},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.pod == nil {
				tt.pod = pod
			}
			got, err := tt.hint(klogger, tt.pod, tt.before, tt.now)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("got %v (%v), want %v", got, err, tt.want)
			}
		})
	}
}

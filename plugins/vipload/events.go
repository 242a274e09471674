package vipload

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	schedutil "k8s.io/kubernetes/pkg/scheduler/util"

	"evenkeel.io/evenkeel/api/placeholder"
)

// EventsToRegister returns the events after which a placeholder that VIPLoad refused may fit.
//
// VIPNodes and EndpointSlices are not among them on purpose: registering a custom resource starts a second informer inside
// the scheduler, whose event may come before the plugin's own store has the change; the pod would be refused once more
// and sleep for minutes. The activator takes care of both, after the store has changed.
func (pl *VIPLoad) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{
		// A node may have been known by its VIPNode only, lose the label that excludes or evacuates it, or take more VIPs.
		{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add | fwk.UpdateNodeLabel | fwk.UpdateNodeAnnotation}, QueueingHintFn: pl.isSchedulableAfterNodeChange},
		// The VIP's other placeholder ends, or another VIP's where there are limits, or a standby's active gets its node or becomes
		// active. Update is the general one, as neither a deletion timestamp nor a label is one of the specific updates.
		{Event: fwk.ClusterEvent{Resource: fwk.AssignedPod, ActionType: fwk.Add | fwk.Update | fwk.Delete}, QueueingHintFn: pl.isSchedulableAfterPodChange},
		// Somebody corrects the annotations of a placeholder that couldn't be read.
		{Event: fwk.ClusterEvent{Resource: fwk.TargetPod, ActionType: fwk.Update}, QueueingHintFn: isSchedulableAfterOwnUpdate},
	}, nil
}

func (pl *VIPLoad) isSchedulableAfterNodeChange(_ klog.Logger, _ *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := schedutil.As[*corev1.Node](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if pl.labelledOff(after) {
		return fwk.QueueSkip, nil
	}
	if before == nil { // a new node helps once it has an announcer; its VIPNode's arrival activates the pod
		if _, ok := pl.nodes.get(after.Name); !ok {
			return fwk.QueueSkip, nil
		}
		return fwk.Queue, nil
	}
	if pl.labelledOff(before) {
		return fwk.Queue, nil
	}
	if before.Annotations[placeholder.AnnotationMaxVIPs] != after.Annotations[placeholder.AnnotationMaxVIPs] {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// labelledOff says whether a label keeps VIPs off a node.
func (pl *VIPLoad) labelledOff(node *corev1.Node) bool {
	_, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]
	_, evacuated := node.Labels[placeholder.LabelEvacuate]
	return excluded && !pl.ignoreExcludeLabel || evacuated
}

func (pl *VIPLoad) isSchedulableAfterPodChange(_ klog.Logger, pod *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := schedutil.As[*corev1.Pod](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	either := after
	if either == nil {
		either = before
	}
	if either == nil || !placeholder.Is(either) {
		return fwk.QueueSkip, nil
	}
	ended := after == nil || before != nil && !placeholder.Ended(before) && placeholder.Ended(after)
	if either.Labels[placeholder.LabelVIP] != pod.Labels[placeholder.LabelVIP] {
		if ended && pl.mayMakeRoom(pod, either) {
			return fwk.Queue, nil
		}
		return fwk.QueueSkip, nil
	}
	if ended || placeholder.RoleOf(pod) == placeholder.Standby && isActive(after) && !isActive(before) {
		return fwk.Queue, nil
	}
	return fwk.QueueSkip, nil
}

// mayMakeRoom says whether the end of another VIP's placeholder may let a pod keep within a limit that it was refused for.
func (pl *VIPLoad) mayMakeRoom(pod, ended *corev1.Pod) bool {
	_, limited := pod.Annotations[placeholder.AnnotationMaxVIPsPerNode]
	return pl.limited.Load() || limited && pod.Annotations[placeholder.AnnotationPool] == ended.Annotations[placeholder.AnnotationPool]
}

func isActive(pod *corev1.Pod) bool {
	return pod != nil && placeholder.Is(pod) && placeholder.RoleOf(pod) == placeholder.Active
}

func isSchedulableAfterOwnUpdate(_ klog.Logger, _ *corev1.Pod, oldObj, newObj any) (fwk.QueueingHint, error) {
	before, after, err := schedutil.As[*corev1.Pod](oldObj, newObj)
	if err != nil {
		return fwk.Queue, err
	}
	if maps.Equal(before.Annotations, after.Annotations) && maps.Equal(before.Labels, after.Labels) {
		return fwk.QueueSkip, nil
	}
	return fwk.Queue, nil
}

package standby

import (
	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
)

// View is what the placeholders amount to.
type View struct {
	nodes   map[string]load.Node
	vips    map[string]*places
	leaving []*corev1.Pod
}

// places are a VIP's placeholders.
type places struct {
	actives, unsettled int
	standbys           []*corev1.Pod
}

// Look reads placeholders, which must not be changed.
func Look(pods []corev1.Pod) View {
	v := View{nodes: map[string]load.Node{}, vips: map[string]*places{}}
	for i := range pods {
		pod := &pods[i]
		if !placeholder.Is(pod) {
			continue
		}
		name := pod.Labels[placeholder.LabelVIP]
		vip := v.vips[name]
		if vip == nil {
			vip = &places{}
			v.vips[name] = vip
		}
		if pod.Spec.NodeName != "" {
			node := v.nodes[pod.Spec.NodeName]
			node.Count(pod)
			v.nodes[pod.Spec.NodeName] = node
		}
		c := placeholder.ConditionOf(pod, placeholder.ConditionReady)
		ready := c != nil && c.Status == corev1.ConditionTrue && c.Reason != placeholder.ReasonTookOver
		standby := placeholder.RoleOf(pod) == placeholder.Standby
		leaving := standby && pod.Annotations[placeholder.AnnotationLeaving] == "true"
		switch {
		case placeholder.Ended(pod) || !ready || leaving || pod.Spec.NodeName == "" || placeholder.HandWritten(pod):
			vip.unsettled++
		case standby && placeholder.Prefers(pod): // the scheduler would put it where it prefers to be, not where the plan needs it
			vip.unsettled++
		case !standby:
			vip.actives++
		default:
			vip.standbys = append(vip.standbys, pod)
		}
		if leaving && !placeholder.Ended(pod) {
			v.leaving = append(v.leaving, pod)
		}
	}
	return v
}

// Settled says whether a VIP has one active that announces and standbys that are all on guard, and nothing else.
func (v View) Settled(vip string) bool {
	p := v.vips[vip]
	return p != nil && p.actives == 1 && p.unsettled == 0 && len(p.standbys) > 0
}

// standby finds the standby that a move is about.
func (v View) standby(m Move) *corev1.Pod {
	if p := v.vips[m.VIP]; p != nil {
		for _, pod := range p.standbys {
			if pod.Spec.NodeName == m.From {
				return pod
			}
		}
	}
	return nil
}

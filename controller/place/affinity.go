package place

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/wishes"
)

// Needs are what a VIP's placeholders ask of a node in Kubernetes' own terms.
type Needs struct {
	Tolerations []corev1.Toleration
	// Nodes says which nodes their node selectors and affinities allow.
	Nodes nodeaffinity.RequiredNodeAffinity
	// Particular: the Service asks for some of this, not the pool alone.
	Particular bool
}

// NeedsOf returns what the placeholders of a VIP ask of a node, active or standby.
func NeedsOf(s Subject) Needs {
	pod := patched(&corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: containerName}}}}, s.Pool)
	constrain(pod, s)
	wished, _ := wishes.Of(s.Service)
	return Needs{
		Tolerations: pod.Spec.Tolerations, Nodes: nodeaffinity.GetRequiredNodeAffinity(pod), Particular: len(wished.Nodes) > 0,
	}
}

// constrain adds to a pod where it may be and where it would like to be, beside what a pool's patch has said about it.
func constrain(pod *corev1.Pod, s Subject) {
	pod.Spec.Tolerations = append(Tolerations(s.Pool), pod.Spec.Tolerations...)
	wished, _ := wishes.Of(s.Service) // package vip tells about what can't be read
	var nodes []corev1.NodeSelectorRequirement
	if s.Pool != nil {
		nodes = requirements(s.Pool.Spec.NodeSelector)
	}
	require(pod, append(nodes, wished.Nodes...))
	if wished.Spread.Group != "" {
		spread(pod, wished.Spread)
	}
}

// requirements turns a label selector into those of a node affinity; their operators are the same four.
func requirements(selector *metav1.LabelSelector) []corev1.NodeSelectorRequirement {
	if selector == nil {
		return nil
	}
	var list []corev1.NodeSelectorRequirement
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		list = append(list, corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{selector.MatchLabels[key]}})
	}
	for _, e := range selector.MatchExpressions {
		list = append(list, corev1.NodeSelectorRequirement{Key: e.Key, Operator: corev1.NodeSelectorOperator(e.Operator), Values: e.Values})
	}
	return list
}

// require adds requirements to each term of a pod's node affinity: terms are alternatives.
func require(pod *corev1.Pod, more []corev1.NodeSelectorRequirement) {
	if len(more) == 0 {
		return
	}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	affinity := pod.Spec.Affinity
	if affinity.NodeAffinity == nil {
		affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	selector := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if selector == nil {
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: more}},
		}
		return
	}
	for i := range selector.NodeSelectorTerms {
		if term := &selector.NodeSelectorTerms[i]; len(term.MatchExpressions)+len(term.MatchFields) > 0 { // an empty one allows no node
			term.MatchExpressions = append(term.MatchExpressions, more...)
		}
	}
}

// Weights of what placeholders prefer. To find its place an active one weighs the other actives of its group alone; what a standby
// prefers only decides where that leaves a choice.
const (
	activePrefers  = 100
	standbyPrefers = 1
)

// spread keeps a placeholder away from the active ones of its group that belong to other VIPs.
//
// A standby only ever prefers to: were it refused, a group as large as the cluster could have no standbys. So a takeover may
// bring two actives of a group together, in a hard group too. It is the role label that counts, and so does a standby from the
// moment that it takes over.
func spread(pod *corev1.Pod, s wishes.Spread) {
	others := corev1.PodAffinityTerm{TopologyKey: s.Topology, LabelSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{placeholder.LabelSpreadGroup: s.Group},
		MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: placeholder.LabelRole, Operator: metav1.LabelSelectorOpNotIn, Values: []string{string(placeholder.Standby)}},
			// Its own VIP's earlier active would otherwise keep it out of a whole zone during a move.
			{Key: placeholder.LabelVIP, Operator: metav1.LabelSelectorOpNotIn, Values: []string{pod.Labels[placeholder.LabelVIP]}},
		},
	}}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.PodAntiAffinity == nil {
		pod.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{}
	}
	anti := pod.Spec.Affinity.PodAntiAffinity
	active := placeholder.RoleOf(pod) == placeholder.Active
	if active && s.Hard {
		anti.RequiredDuringSchedulingIgnoredDuringExecution = append(anti.RequiredDuringSchedulingIgnoredDuringExecution, others)
		return
	}
	weight := int32(standbyPrefers)
	if active {
		weight = activePrefers
	}
	anti.PreferredDuringSchedulingIgnoredDuringExecution = append(anti.PreferredDuringSchedulingIgnoredDuringExecution,
		corev1.WeightedPodAffinityTerm{Weight: weight, PodAffinityTerm: others})
}

// Labels returns the labels that follow the Service during a placeholder's life. An empty value means that the label is to be
// absent.
func Labels(s Subject) map[string]string {
	if s.Service == nil {
		return nil
	}
	wished, _ := wishes.Of(s.Service)
	group := wished.Spread.Group
	if group == "" {
		group = s.spreadGroup()
	}
	return map[string]string{placeholder.LabelSpreadGroup: group}
}

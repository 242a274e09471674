package placeholder

import corev1 "k8s.io/api/core/v1"

// Prefers says whether a pod has wishes that the scheduler weighs before the load: preferred affinities, or topology spread
// that may be broken. Where it may be placed is then not for the load alone to say, and so not for who evens the load out.
func Prefers(pod *corev1.Pod) bool {
	for _, constraint := range pod.Spec.TopologySpreadConstraints {
		if constraint.WhenUnsatisfiable == corev1.ScheduleAnyway {
			return true
		}
	}
	a := pod.Spec.Affinity
	if a == nil {
		return false
	}
	return a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 ||
		a.PodAffinity != nil && len(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 ||
		a.PodAntiAffinity != nil && len(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0
}

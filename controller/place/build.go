// Package place makes the placeholder pods of VIPs: what they look like (pure), and when a new one is due.
package place

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Subject is a VIP with what its placeholders are made from.
type Subject struct {
	VIP *v1alpha1.VIP
	// Service that uses the VIP; of several the one that joined first. Nil: unknown, what earlier placeholders say stays.
	Service *corev1.Service
	// Sharers are the other Services that use the VIP, in the order in which they joined.
	Sharers []*corev1.Service
	// Pool of the VIP. Nil: it is gone, what earlier placeholders say stays.
	Pool *v1alpha1.VIPPool
}

// Look is what placeholders have in common.
type Look struct {
	Namespace string
	// Image of the one container, which does nothing.
	Image string
	// PriorityClass of the pods. Empty: the namespace's default.
	PriorityClass string
}

// Claim is what sets one placeholder of a VIP apart from the others.
type Claim struct {
	Role     placeholder.Role
	Sequence int64
	Term     int64
	Peers    []placeholder.Peer
	// On is the only node that it may be bound to; empty: any may.
	On string
}

// changing are the annotations that follow the Service and the pool during a placeholder's life.
var changing = []string{
	placeholder.AnnotationService, placeholder.AnnotationPorts, placeholder.AnnotationPolicy, placeholder.AnnotationInterfaces, placeholder.AnnotationHandoff,
	placeholder.AnnotationMaxVIPsPerNode,
}

// Annotations returns the annotations that follow the VIP, the Service and the pool. before are those of an earlier placeholder, for
// what is unknown now. An empty value means that the annotation is to be absent.
func Annotations(s Subject, before map[string]string) map[string]string {
	want := map[string]string{}
	for _, key := range changing {
		want[key] = before[key]
	}
	if len(s.VIP.Spec.Services) > 0 {
		want[placeholder.AnnotationService] = users(s.VIP)
	}
	if s.Service != nil {
		want[placeholder.AnnotationPorts] = placeholder.FormatPorts(s.ports())
		want[placeholder.AnnotationPolicy] = string(s.Service.Spec.ExternalTrafficPolicy)
		want[placeholder.AnnotationHandoff] = ""
		for _, service := range s.Services() {
			if service.Annotations[placeholder.AnnotationHandoff] == "false" {
				want[placeholder.AnnotationHandoff] = "false"
			}
		}
	}
	if s.Pool != nil {
		want[placeholder.AnnotationInterfaces] = strings.Join(s.Pool.Spec.Interfaces, ",")
		want[placeholder.AnnotationMaxVIPsPerNode] = ""
		if most := s.Pool.Spec.MaxVIPsPerNode; most != nil {
			want[placeholder.AnnotationMaxVIPsPerNode] = strconv.FormatInt(int64(*most), 10)
		}
	}
	want[placeholder.AnnotationWeight] = strconv.FormatInt(max(1, s.VIP.Spec.Weight), 10)
	want[placeholder.AnnotationPool] = s.VIP.Spec.Pool
	return want
}

// Difference returns what a pod lacks of the wanted annotations, as a merge patch wants it: nil removes. It is empty where
// nothing does.
func Difference(have, want map[string]string) map[string]*string {
	patch := map[string]*string{}
	for key, value := range want {
		switch current, ok := have[key]; {
		case value == "" && ok:
			patch[key] = nil
		case value != "" && current != value:
			patch[key] = &value
		}
	}
	return patch
}

// Build makes a placeholder pod.
//
// It asks for no CPU or memory: what a placeholder takes of a node is a pod slot, and a node short of CPU can still announce.
// As a pod of a system-critical priority it isn't evicted for pressure on the node. It tolerates what the announcer works
// under (as DaemonSets do), and stays on nodes that are not ready or unreachable: who leaves a silent node is our decision. It
// doesn't tolerate these taints' NoSchedule: a new placeholder has better places.
func Build(s Subject, look Look, c Claim, before map[string]string) *corev1.Pod {
	vip := s.VIP
	yes, no, grace, user := true, false, terminationGrace, nobody
	annotations := map[string]string{
		placeholder.AnnotationAddresses: strings.Join(vip.Spec.Addresses, ","),
		placeholder.AnnotationTerm:      strconv.FormatInt(c.Term, 10),
	}
	if len(c.Peers) > 0 {
		annotations[placeholder.AnnotationPeers] = placeholder.FormatPeers(c.Peers)
	}
	for key, value := range Annotations(s, before) {
		if value != "" {
			annotations[key] = value
		}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:      vip.Name + "-" + strconv.FormatInt(c.Sequence, 10),
			Namespace: look.Namespace,
			Labels: map[string]string{
				placeholder.LabelVIP:          vip.Name,
				placeholder.LabelRole:         string(c.Role),
				"app.kubernetes.io/name":      "evenkeel-placeholder",
				"app.kubernetes.io/part-of":   "evenkeel",
				"app.kubernetes.io/component": "placeholder",
			},
			Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIP", Name: vip.Name, UID: vip.UID, Controller: &yes,
			}},
		},
		Spec: corev1.PodSpec{
			SchedulerName:                 placeholder.SchedulerName,
			HostNetwork:                   true,
			RestartPolicy:                 corev1.RestartPolicyAlways,
			PriorityClassName:             look.PriorityClass,
			TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no,
			ReadinessGates:                []corev1.PodReadinessGate{{ConditionType: placeholder.ConditionReady}},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user,
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:  containerName,
				Image: look.Image,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
			}},
		},
	}
	for key, value := range Labels(s) {
		if value != "" {
			pod.Labels[key] = value
		}
	}
	pod = patched(pod, s.Pool)
	constrain(pod, s)
	if c.On != "" {
		pin(pod, c.On)
	}
	return pod
}

// nobody is the user ID that the pause image runs as by itself.
var nobody int64 = 65535

// terminationGrace in seconds. With 0 the API server would remove the object at once, before its announcer could be told by
// the object's own deletion mark that this is a move; more than 1 would only make drains wait for a container that ends at
// its first SIGTERM.
var terminationGrace int64 = 1

// Tolerations are those of the placeholders of a pool, which may be nil, but for what its patch adds.
func Tolerations(pool *v1alpha1.VIPPool) []corev1.Toleration {
	if pool == nil {
		return slices.Clone(tolerations)
	}
	return slices.Concat(tolerations, pool.Spec.Tolerations)
}

var tolerations = []corev1.Toleration{
	{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
	{Key: corev1.TaintNodeNetworkUnavailable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeDiskPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
	{Key: corev1.TaintNodePIDPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
}

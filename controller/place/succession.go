package place

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Nodes looks a VIPNode up; nil where there is none.
type Nodes func(name string) *v1alpha1.VIPNode

// Succession lists a VIP's places for its placeholders: the active, the standbys in the order in which they take over, then
// at most MaxPreviousOwners previous owners, the latest first. Places that wait for a node are left out, and each node is listed once.
func (p Places) Succession(vip *v1alpha1.VIP, nodes Nodes) []placeholder.Peer {
	var list []placeholder.Peer
	add := func(peer placeholder.Peer, role placeholder.Role) bool {
		if peer.Node == "" || slices.ContainsFunc(list, func(other placeholder.Peer) bool { return other.Node == peer.Node }) {
			return false
		}
		peer.Role = role
		list = append(list, peer)
		return true
	}
	of := func(pod *corev1.Pod) placeholder.Peer {
		if pod.Spec.NodeName == "" {
			return placeholder.Peer{}
		}
		return PeerOf(pod.Name, pod.Spec.NodeName, vip, splitNames(pod.Annotations[placeholder.AnnotationInterfaces]), nodes(pod.Spec.NodeName))
	}
	if p.Live != nil {
		add(of(p.Live), placeholder.Active)
	}
	for _, pod := range p.Standbys {
		add(of(pod), placeholder.Standby)
	}
	previous := 0
	earlier := func(peer placeholder.Peer) {
		peer.Owned = false // which its role says then
		for i := range list {
			if list[i].Node == peer.Node {
				list[i].Owned = list[i].Role == placeholder.Standby
				return
			}
		}
		if previous < placeholder.MaxPreviousOwners && add(peer, "") {
			previous++
		}
	}
	var sources []*corev1.Pod
	for _, pod := range slices.Concat(p.Surplus, p.Ended) {
		if placeholder.RoleOf(pod) == placeholder.Active && pod.Spec.NodeName != "" { // a standby that ended owned nothing
			earlier(of(pod))
			sources = append(sources, pod)
		}
	}
	if p.Live != nil {
		sources = append(sources, p.Live)
	}
	for _, pod := range sources {
		known, err := placeholder.ParsePeers(pod.Annotations[placeholder.AnnotationPeers])
		if err != nil {
			continue // its announcer reports it
		}
		for _, peer := range known {
			// Who was active when the list was written, and isn't now, has owned it since. A standby of then may have been lost.
			if peer.Role != placeholder.Standby || peer.Owned {
				earlier(peer)
			}
		}
	}
	if node := vip.Status.Node; node != "" { // its pod is gone already
		var interfaces []string
		if p.Live != nil {
			interfaces = splitNames(p.Live.Annotations[placeholder.AnnotationInterfaces])
		}
		earlier(PeerOf("", node, vip, interfaces, nodes(node)))
	}
	return list
}

// withoutSelf is what a placeholder needs of a succession: it knows its own place.
func withoutSelf(list []placeholder.Peer, pod *corev1.Pod) []placeholder.Peer {
	return slices.DeleteFunc(slices.Clone(list), func(peer placeholder.Peer) bool {
		return peer.Pod == pod.Name || pod.Spec.NodeName != "" && peer.Node == pod.Spec.NodeName
	})
}

// knows says whether a placeholder has been told of a succession: nothing that it needs of it differs.
func knows(pod *corev1.Pod, list []placeholder.Peer) bool {
	have, err := placeholder.ParsePeers(pod.Annotations[placeholder.AnnotationPeers])
	return err == nil && placeholder.FormatPeers(withoutSelf(have, pod)) == placeholder.FormatPeers(withoutSelf(list, pod))
}

package placeholder

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MaxWeight bounds a weight, so that sums of any number of pods stay far from overflow.
const MaxWeight = 1000

// Bounds of what Nodes and pools say.
const (
	MaxCapacity = 1000000
	MaxLimit    = 100000
)

// MaxPreviousOwners is how many previous owners a placeholder names, and so how many get what a VIP's new owner hands on: as many as
// let a VIP have been on all nodes of a cluster of five while connections live.
const MaxPreviousOwners = 4

// maxPeers bounds what is read from one annotation: standbys (2), the active, earlier owners (4), with room.
const maxPeers = 16

// Placeholder is a pod read as a VIP's place. It is a value: nothing in it points into the pod.
type Placeholder struct {
	Pod        types.NamespacedName
	UID        types.UID
	Node       string
	VIP        string
	Role       Role
	Addresses  []netip.Addr
	Interfaces []string
	Weight     int64
	Pool       string
	// MaxVIPsPerNode is how many active VIPs of the pool a node takes at most; 0: no limit.
	MaxVIPsPerNode int64
	Term           int64
	Peers          []Peer
	Ports          []Port
	Service        types.NamespacedName // of several that share the VIP the first
	Local          bool                 // externalTrafficPolicy Local
	NoHandoff      bool                 // established connections are not handed on after a move
	Release        bool                 // the VIP ends: unbind at once
	Ending         bool                 // the pod is deleted or has failed: hold until a successor claims
}

// Peer is a place of the VIP, or a previous owner: whose claims are no conflicts. The annotation lists them in order of
// succession: the active, the standbys, then previous owners, the latest first. A placeholder finds itself in the list.
type Peer struct {
	Pod string `json:"pod,omitempty"`
	// Role is empty for a previous owner.
	Role Role `json:"role,omitempty"`
	// Owned: a standby that is a previous owner as well, and serves the connections of that time.
	Owned bool   `json:"owned,omitempty"`
	Node  string `json:"node"`
	// MACs of the NICs that may announce the VIP, the one that is to be expected first.
	MACs []string `json:"macs,omitempty"`
	// Serving has the MAC to be expected for each of the VIP's addresses, in their order, where one NIC doesn't serve all of them.
	Serving   []string     `json:"serving,omitempty"`
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// Expected returns the MACs that may speak for the VIP's address with that index, the one that is to be expected first.
func (p Peer) Expected(index int) []string {
	if index < 0 || index >= len(p.Serving) {
		return p.MACs
	}
	macs := []string{p.Serving[index]}
	for _, mac := range p.MACs {
		if mac != p.Serving[index] {
			macs = append(macs, mac)
		}
	}
	return macs
}

// Is says whether a pod is a placeholder at all: it wears the label and is meant for our scheduler.
func Is(pod *corev1.Pod) bool {
	return pod.Labels[LabelVIP] != "" && pod.Spec.SchedulerName == SchedulerName
}

// HandWritten says whether people made the pod: no VIP object owns it.
func HandWritten(pod *corev1.Pod) bool {
	for _, ref := range pod.OwnerReferences {
		if ref.Kind == "VIP" && ref.Controller != nil && *ref.Controller {
			return false
		}
	}
	return true
}

// RoleOf reads the role label; a pod without one is active (people write such).
func RoleOf(pod *corev1.Pod) Role {
	if Role(pod.Labels[LabelRole]) == Standby {
		return Standby
	}
	return Active
}

// Ended says whether the pod no longer holds a place: it is being deleted or has reached a final phase.
func Ended(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

// ConditionOf finds a condition of a pod; nil: nobody has reported on it. It points into the pod.
func ConditionOf(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// Parse reads a pod strictly. The error names the annotation and what is wrong with it.
func Parse(pod *corev1.Pod) (Placeholder, error) {
	p := Placeholder{
		Pod:       types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name},
		UID:       pod.UID,
		Node:      pod.Spec.NodeName,
		VIP:       pod.Labels[LabelVIP],
		Pool:      pod.Annotations[AnnotationPool],
		Role:      RoleOf(pod),
		Local:     pod.Annotations[AnnotationPolicy] == string(corev1.ServiceExternalTrafficPolicyLocal),
		NoHandoff: pod.Annotations[AnnotationHandoff] == "false",
		Release:   pod.Annotations[AnnotationRelease] == "true",
		Ending:    Ended(pod),
	}
	var err error
	if p.Addresses, err = ParseAddresses(pod.Annotations[AnnotationAddresses]); err != nil {
		return p, fmt.Errorf("reading annotation %s: %w", AnnotationAddresses, err)
	}
	if want := VIPName(p.Addresses[0]); p.VIP != want {
		return p, fmt.Errorf("reading label %s: it is %q, but the first address %s makes it %q", LabelVIP, p.VIP, p.Addresses[0], want)
	}
	if p.Weight, err = Weight(pod); err != nil {
		return p, err
	}
	if p.MaxVIPsPerNode, err = PoolLimit(pod); err != nil {
		return p, err
	}
	if term, ok := pod.Annotations[AnnotationTerm]; ok {
		if p.Term, err = strconv.ParseInt(term, 10, 64); err != nil || p.Term < 0 {
			return p, fmt.Errorf("reading annotation %s: %q is no count", AnnotationTerm, term)
		}
	}
	if p.Ports, err = ParsePorts(pod.Annotations[AnnotationPorts]); err != nil {
		return p, fmt.Errorf("reading annotation %s: %w", AnnotationPorts, err)
	}
	if p.Peers, err = ParsePeers(pod.Annotations[AnnotationPeers]); err != nil {
		return p, fmt.Errorf("reading annotation %s: %w", AnnotationPeers, err)
	}
	p.Interfaces = splitList(pod.Annotations[AnnotationInterfaces])
	services, err := ParseServices(pod.Annotations[AnnotationService])
	if err != nil {
		return p, fmt.Errorf("reading annotation %s: %w", AnnotationService, err)
	}
	if len(services) > 0 {
		p.Service = services[0]
	}
	return p, nil
}

// Term reads a placeholder's term; what can't be read is 0, as an absent one is.
func Term(pod *corev1.Pod) int64 {
	term, err := strconv.ParseInt(pod.Annotations[AnnotationTerm], 10, 64)
	if err != nil {
		return 0
	}
	return term
}

// Weight reads the weight of a placeholder, or what a Service asks for; without the annotation it is 1.
func Weight(obj metav1.Object) (int64, error) {
	text, ok := obj.GetAnnotations()[AnnotationWeight]
	if !ok {
		return 1, nil
	}
	weight, err := strconv.ParseInt(text, 10, 64)
	if err != nil || weight < 1 || weight > MaxWeight {
		return 1, fmt.Errorf("reading annotation %s: %q is not a whole number from 1 to %d", AnnotationWeight, text, MaxWeight)
	}
	return weight, nil
}

// NodeLimit reads how many active VIPs a node takes at most; 0: no limit.
func NodeLimit(node *corev1.Node) (int64, error) { return limit(node.Annotations, AnnotationMaxVIPs) }

// PoolLimit reads how many active VIPs of a placeholder's pool a node takes at most; 0: no limit.
func PoolLimit(pod *corev1.Pod) (int64, error) {
	return limit(pod.Annotations, AnnotationMaxVIPsPerNode)
}

// limit reads a number of VIPs; without the annotation it is 0, which means that there is no limit.
func limit(annotations map[string]string, key string) (int64, error) {
	text, ok := annotations[key]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > MaxLimit {
		return 0, fmt.Errorf("reading annotation %s: %q is not a whole number from 1 to %d", key, text, MaxLimit)
	}
	return n, nil
}

// Capacity reads a node's share of the load; without the annotation it is 1. speedMbps is the summed speed of its interfaces that may
// announce and have carrier, for nodes whose capacity is that. With an error it is 1, too.
func Capacity(node *corev1.Node, speedMbps int64) (int64, error) {
	text, ok := node.Annotations[AnnotationCapacity]
	switch {
	case !ok:
		return 1, nil
	case text == CapacityNICSpeed && speedMbps > 0:
		return min(speedMbps, MaxCapacity), nil
	case text == CapacityNICSpeed:
		return 1, fmt.Errorf("reading annotation %s: no interface that may announce has carrier and a known speed: write a number", AnnotationCapacity)
	}
	capacity, err := strconv.ParseInt(text, 10, 64)
	if err != nil || capacity < 1 || capacity > MaxCapacity {
		return 1, fmt.Errorf("reading annotation %s: %q is neither a whole number from 1 to %d nor %s", AnnotationCapacity, text, MaxCapacity, CapacityNICSpeed)
	}
	return capacity, nil
}

// ParseAddresses reads a comma-separated list of one address, or one of each family. Only addresses that can be announced
// on a segment pass: no zones, no IPv4-mapped, loopback, multicast, link-local, unspecified or broadcast addresses.
func ParseAddresses(text string) ([]netip.Addr, error) {
	fields := splitList(text)
	if len(fields) == 0 || len(fields) > 2 {
		return nil, fmt.Errorf("want one address, or one of each family, not %q", text)
	}
	addrs := make([]netip.Addr, 0, len(fields))
	for _, field := range fields {
		addr, err := netip.ParseAddr(field)
		if err != nil {
			return nil, fmt.Errorf("%q is no address", field)
		}
		if err := Announceable(addr); err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	if len(addrs) == 2 && addrs[0].Is4() == addrs[1].Is4() {
		return nil, fmt.Errorf("%s and %s are of one family", addrs[0], addrs[1])
	}
	return addrs, nil
}

// Announceable returns why an address can never be a VIP, or nil.
func Announceable(addr netip.Addr) error {
	switch {
	case addr.Zone() != "", addr.Is4In6():
		return fmt.Errorf("%s is not in canonical form", addr)
	case !addr.IsGlobalUnicast(), addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}), addr.Is4() && addr.As4()[0] >= 240, addr.Is4() && addr.As4()[0] == 0:
		return fmt.Errorf("%s is no global unicast address", addr)
	}
	return nil
}

// FormatAddresses is the reverse of ParseAddresses.
func FormatAddresses(addrs []netip.Addr) string {
	texts := make([]string, len(addrs))
	for i, addr := range addrs {
		texts[i] = addr.String()
	}
	return strings.Join(texts, ",")
}

// ParsePeers reads the peers annotation; an empty one means none.
func ParsePeers(text string) ([]Peer, error) {
	if text == "" {
		return nil, nil
	}
	var peers []Peer
	if err := json.Unmarshal([]byte(text), &peers); err != nil {
		return nil, err
	}
	if len(peers) > maxPeers {
		return nil, fmt.Errorf("%d peers, at most %d are read", len(peers), maxPeers)
	}
	for _, peer := range peers {
		if peer.Role != "" && peer.Role != Active && peer.Role != Standby {
			return nil, fmt.Errorf("peer %s: %q is no role", peer.Node, peer.Role)
		}
		for _, mac := range slices.Concat(peer.MACs, peer.Serving) {
			if hw, err := net.ParseMAC(mac); err != nil || len(hw) != 6 {
				return nil, fmt.Errorf("peer %s: %q is no MAC address", peer.Node, mac)
			}
		}
	}
	return peers, nil
}

// FormatPeers is the reverse of ParsePeers.
func FormatPeers(peers []Peer) string {
	if len(peers) == 0 {
		return ""
	}
	text, err := json.Marshal(peers)
	if err != nil { // strings and addresses only: can't happen
		panic(err)
	}
	return string(text)
}

// VIPName names a VIP after its first address: dots and colons become dashes, IPv6 is written out in eight groups
// ("2001-db8-0-0-0-0-0-10"), so that it is a valid object name and label value.
func VIPName(addr netip.Addr) string {
	if addr.Is4() {
		return strings.ReplaceAll(addr.String(), ".", "-")
	}
	bytes := addr.As16()
	groups := make([]string, 8)
	for i := range groups {
		groups[i] = strconv.FormatUint(uint64(bytes[2*i])<<8|uint64(bytes[2*i+1]), 16)
	}
	return strings.Join(groups, "-")
}

func splitList(text string) []string {
	var fields []string
	for field := range strings.SplitSeq(text, ",") {
		if field = strings.TrimSpace(field); field != "" {
			fields = append(fields, field)
		}
	}
	return fields
}

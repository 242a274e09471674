// Package placeholder defines the contract between controller, scheduler and announcer: the placeholder pod that stands
// for a VIP's place in the cluster, its labels, annotations and conditions, and how they are read.
package placeholder

import corev1 "k8s.io/api/core/v1"

// SchedulerName places placeholders.
const SchedulerName = "evenkeel-scheduler"

// DefaultNamespace is where placeholders live.
const DefaultNamespace = "evenkeel-system"

// DefaultLoadBalancerClass is the Service class that is served.
const DefaultLoadBalancerClass = "evenkeel.io/l2"

// Labels of a placeholder.
const (
	// LabelVIP is the name of the VIP: its first address with dashes.
	LabelVIP = "evenkeel.io/vip"
	// LabelRole is "active" or "standby".
	LabelRole = "evenkeel.io/role"
)

// Annotations of a placeholder.
const (
	// AnnotationAddresses lists the VIP's addresses, comma-separated, at most one of each family.
	AnnotationAddresses = "evenkeel.io/addresses"
	// AnnotationWeight is the VIP's weight, 1 to 1000. Absent: 1.
	AnnotationWeight = "evenkeel.io/weight"
	// AnnotationInterfaces lists the NICs that may announce, comma-separated. Absent: the NIC whose subnet holds the address.
	AnnotationInterfaces = "evenkeel.io/interfaces"
	// AnnotationTerm orders claims: of two actives the higher term is the owner. Absent: 0.
	AnnotationTerm = "evenkeel.io/term"
	// AnnotationPeers is a JSON list of Peer, in order of succession.
	AnnotationPeers = "evenkeel.io/peers"
	// AnnotationPorts lists the ports that may be reached through the VIP, comma-separated: "tcp/80,udp/53".
	AnnotationPorts = "evenkeel.io/ports"
	// AnnotationService is namespace/name of the Service that the VIP belongs to. Without it the pod was written by hand and
	// its ports are served by the node itself.
	AnnotationService = "evenkeel.io/service"
	// AnnotationPolicy is the Service's externalTrafficPolicy; "Local" places the VIP only where a ready endpoint is.
	AnnotationPolicy = "evenkeel.io/external-traffic-policy"
	// AnnotationHandoff set to "false", on a Service and so on its placeholders: planned moves reset established connections. Absent
	// or "true": the node that a VIP moves to hands them on to the node that served them.
	AnnotationHandoff = "evenkeel.io/handoff"
	// AnnotationRelease set to "true" before a deletion for good: unbind at once, don't wait for a successor.
	AnnotationRelease = "evenkeel.io/release"
	// AnnotationLeaving set to "true" on a standby: another node is to stand by in its stead, and it goes once that one is on guard.
	AnnotationLeaving = "evenkeel.io/leaving"
)

// Annotations of a Service.
const (
	// AnnotationPool asks for a pool by name; the foreign spelling is understood too.
	AnnotationPool          = "evenkeel.io/pool"
	AnnotationRequested     = "evenkeel.io/load-balancer-ips"
	ForeignMetalLBPool      = "metallb.io/address-pool"
	ForeignMetalLBAddresses = "metallb.io/loadBalancerIPs"
	ForeignMetalLBSharing   = "metallb.io/allow-shared-ip"
	ForeignKubeVIPAddresses = "kube-vip.io/loadbalancerIPs"
	AnnotationSharing       = "evenkeel.io/allow-shared-ip"
	// AnnotationStandbys overrides the pool's number of standbys: "0", "1" or "2".
	AnnotationStandbys = "evenkeel.io/standbys"
)

// Where a VIP would like to be: annotations of a Service, and what placeholders wear of them.
const (
	// AnnotationNodeSelector is a label selector in kubectl's syntax: only nodes that it matches may announce the VIP.
	AnnotationNodeSelector = "evenkeel.io/node-selector"
	// LabelSpreadGroup is an annotation of a Service, too: there it names a group within the Service's namespace whose VIPs are to
	// be in different places. On a placeholder its value is that of package wishes, which says the namespace as well.
	LabelSpreadGroup = "evenkeel.io/spread-group"
	// AnnotationSpread is SpreadSoft or SpreadHard.
	AnnotationSpread = "evenkeel.io/spread"
	// AnnotationSpreadTopology is the label of nodes that tells places apart. Absent: kubernetes.io/hostname.
	AnnotationSpreadTopology = "evenkeel.io/spread-topology"
)

// How a group is spread.
const (
	// SpreadSoft (also when absent): in different places as far as there are enough.
	SpreadSoft = "soft"
	// SpreadHard: a VIP waits rather than sharing a place.
	SpreadHard = "hard"
)

// Pod conditions, written by the announcer.
const (
	// ConditionReady is the readiness gate: True when announced (active), guarding or announced (standby).
	ConditionReady corev1.PodConditionType = "evenkeel.io/ready"
	// ConditionAnnounced says whether this node answers for the VIP.
	ConditionAnnounced corev1.PodConditionType = "evenkeel.io/announced"
)

// Reasons of ConditionReady and ConditionAnnounced.
const (
	ReasonAnnouncing    = "Announcing"    // bound and announced
	ReasonProbing       = "Probing"       // asking the wire whether somebody else has the address
	ReasonConflict      = "Conflict"      // a foreign machine answers for it; the message names its MAC
	ReasonNoInterface   = "NoInterface"   // no NIC with carrier for it on this node
	ReasonNoNodeAddress = "NoNodeAddress" // the NIC lost its own address; VIPs wait behind it
	ReasonBindFailed    = "BindFailed"    // the kernel refused; the message has its error
	ReasonInvalid       = "Invalid"       // the annotations can't be read; the message says which
	ReasonSuperseded    = "Superseded"    // another placeholder of the VIP has claimed it
	ReasonLost          = "Lost"          // the lease ran out (the process was stopped); probing anew

	ReasonGuarding       = "Guarding"       // standby: the active's host answers for the VIP, and will be missed
	ReasonNotHeard       = "NotHeard"       // standby: the active's host has never answered here, so its silence says nothing
	ReasonNothingToGuard = "NothingToGuard" // standby: it doesn't know yet which node is active
	ReasonTookOver       = "TookOver"       // standby: bound and announced, as the active's host fell silent
)

// Role of a placeholder.
type Role string

// Roles.
const (
	Active  Role = "active"
	Standby Role = "standby"
)

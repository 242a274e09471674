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
	// AnnotationService is namespace/name of the Service that the VIP belongs to, or of all that share it, comma-separated, those
	// first that joined first. Without it the pod was written by hand and its ports are served by the node itself.
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
	// AnnotationPool asks for a pool by name; the foreign spelling is understood too. On a placeholder it names the VIP's pool.
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

// What bounds and steers the load of nodes. AnnotationWeight may stand on a Service too.
const (
	// AnnotationCapacity on a Node is what share of the load it takes beside the others: 1 to 1000000, or CapacityNICSpeed. Absent: 1.
	AnnotationCapacity = "evenkeel.io/capacity"
	// AnnotationMaxVIPs on a Node is how many active VIPs it takes at most. Absent: no limit.
	AnnotationMaxVIPs = "evenkeel.io/max-vips"
	// AnnotationMaxVIPsPerNode on a placeholder is how many active VIPs of its pool a node takes at most. Absent: no limit.
	AnnotationMaxVIPsPerNode = "evenkeel.io/max-vips-per-node"

	// CapacityNICSpeed as a Node's capacity: the summed speed in Mbit/s of its interfaces that may announce and have carrier.
	CapacityNICSpeed = "nic-speed"
)

// Several addresses for one Service.
const (
	// AnnotationVIPs on a Service is how many addresses of each family it is to have, "1" to "16", on different nodes. Absent: 1.
	AnnotationVIPs = "evenkeel.io/vips"
)

// MaxVIPs is the most that AnnotationVIPs may ask for.
const MaxVIPs = 16

// Where a VIP would like to be: annotations of a Service, and what placeholders wear of them.
const (
	// AnnotationNodeSelector is a label selector in kubectl's syntax: only nodes that it matches may announce the VIP.
	AnnotationNodeSelector = "evenkeel.io/node-selector"
	// LabelSpreadGroup is an annotation of a Service, too: there it names a group within the Service's namespace whose VIPs are to
	// be in different places. On a placeholder its value says the namespace as well (package wishes), or names the one Service whose
	// several VIPs keep to different nodes.
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

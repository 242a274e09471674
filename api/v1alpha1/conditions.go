package v1alpha1

// Conditions of a VIP.
const (
	// VIPAnnounced is True while a node announces the VIP; the message names it.
	VIPAnnounced = "Announced"
	// VIPConflict is True while a machine outside the cluster answers for the VIP; the message names its MAC.
	VIPConflict = "Conflict"
	// VIPGuarded is True while every standby that the VIP is to have guards it; the message says what is missing.
	VIPGuarded = "Guarded"
)

// Reasons of VIPAnnounced beside those that placeholders report (package placeholder).
const (
	ReasonAnnounced     = "Announced"
	ReasonUnschedulable = "Unschedulable"
	ReasonNotReported   = "NotReported"
	ReasonNoPlaceholder = "NoPlaceholder"
	ReasonReleasing     = "Releasing"
	// ReasonNoEndpoints: the traffic policy of its Services is Local, and no node has an endpoint of theirs.
	ReasonNoEndpoints = "NoEndpoints"
)

// Conditions of a VIPPool.
const (
	// PoolReady is False while some of the pool's entries can't be used; the message names them.
	PoolReady = "Ready"
)

// Reasons of PoolReady.
const (
	ReasonPoolValid      = "Valid"
	ReasonInvalidEntry   = "InvalidEntry"
	ReasonReversedRange  = "ReversedRange"
	ReasonOverlap        = "Overlap"
	ReasonInvalidPoolRef = "InvalidSelector"
	ReasonInvalidPatch   = "InvalidPodTemplatePatch"
)

// Conditions of a VIPNode.
const (
	// NodeDataPlaneHealthy is False while what serves the Services on the node (kube-proxy) is sick: no VIP is placed there.
	NodeDataPlaneHealthy = "DataPlaneHealthy"
	// NodeProtected is False while the node's own listeners can be reached through its VIPs.
	NodeProtected = "Protected"
	// NodeHandoff is True while connections to VIPs that move to this node are handed on to the nodes that served them. Where it is
	// False, moves reset them.
	NodeHandoff = "Handoff"
	// NodeStrictARP is False while kube-proxy runs in IPVS mode without strictARP: the node then answers ARP for every VIP, whoever
	// announces it.
	NodeStrictARP = "StrictARP"
	// NodeTrafficMeasured is False while nobody knows what the node carries for its VIPs: its VIPNodeTraffic is old then, or missing.
	NodeTrafficMeasured = "TrafficMeasured"
)

// ServiceAnnounced is the condition in a Service's status that says which node announces its addresses.
const ServiceAnnounced = "evenkeel.io/Announced"

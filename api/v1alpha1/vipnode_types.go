package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VIPNode is the evidence that a node has an announcer, and what that announcer sees: one per node, named as the node.
// Its announcer writes it; the scheduler places VIPs by it. The Node owns it, so it goes with the Node.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=vipnodes,singular=vipnode,categories=evenkeel
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.status.interfaces[*].name`
// +kubebuilder:printcolumn:name="Data-Plane",type=string,JSONPath=`.status.conditions[?(@.type=="DataPlaneHealthy")].status`
// +kubebuilder:printcolumn:name="Protected",type=string,JSONPath=`.status.conditions[?(@.type=="Protected")].status`
// +kubebuilder:printcolumn:name="Suspect",type=string,JSONPath=`.spec.suspect.reason`
// +kubebuilder:printcolumn:name="Version",type=string,priority=1,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VIPNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VIPNodeSpec   `json:"spec,omitempty"`
	Status VIPNodeStatus `json:"status,omitempty"`
}

// VIPNodeSpec is written by the controller.
type VIPNodeSpec struct {
	// Suspect: the node fell silent on the wire, or its announcer didn't report. Nothing is placed there until it has
	// acknowledged that it is back.
	// +optional
	Suspect *Suspicion `json:"suspect,omitempty"`

	// Neighbours are other nodes that this one asks for a sign of life at a low rate, each by one of its own addresses. Every
	// node is somebody's neighbour, so that the loss of a VIP's node together with all its standbys' is noticed too.
	// +listType=map
	// +listMapKey=node
	// +kubebuilder:validation:MaxItems=4
	// +optional
	Neighbours []Neighbour `json:"neighbours,omitempty"`
}

// Neighbour is a node to watch.
type Neighbour struct {
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node"`
	// MAC address of its NIC, lower case, colons, and an own address of that NIC.
	// +kubebuilder:validation:MaxLength=17
	MAC string `json:"mac"`
	// +kubebuilder:validation:MaxLength=39
	Address string `json:"address"`
}

// Suspicion says why nothing is placed on a node for now.
type Suspicion struct {
	// ID of this suspicion; the announcer repeats it in status.suspectAcknowledged.
	// +kubebuilder:validation:MaxLength=63
	ID string `json:"id"`
	// Reason is one word, for example FellSilent.
	Reason string      `json:"reason"`
	Since  metav1.Time `json:"since"`
}

// VIPNodeStatus is written by the node's announcer, and only when something in it changed.
type VIPNodeStatus struct {
	// Version of the announcer.
	// +optional
	Version string `json:"version,omitempty"`

	// Interfaces that may announce VIPs, in order of name.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Interfaces []NodeInterface `json:"interfaces,omitempty"`

	// SuspectAcknowledged repeats spec.suspect.id once the announcer has heard another machine on the wire since.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	SuspectAcknowledged string `json:"suspectAcknowledged,omitempty"`

	// SilentNeighbours are the nodes of spec.neighbours that have answered before and no longer do, while the wire works.
	// +listType=set
	// +kubebuilder:validation:MaxItems=4
	// +optional
	SilentNeighbours []string `json:"silentNeighbours,omitempty"`

	// Conditions: DataPlaneHealthy, Protected.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// NodeInterface is one NIC.
type NodeInterface struct {
	Name string `json:"name"`
	// MAC address, lower case, colons.
	MAC string `json:"mac"`
	// Addresses of the NIC's own (VIPs are left out) with prefix lengths: "192.0.2.101/24". Their prefixes are its subnets.
	// +listType=set
	// +optional
	Addresses []string `json:"addresses,omitempty"`
	// Carrier: the link is up.
	Carrier bool `json:"carrier"`
	// SpeedMbps as the driver reports it; absent where it doesn't.
	// +optional
	SpeedMbps int64 `json:"speedMbps,omitempty"`
}

// VIPNodeList is a list of VIPNodes.
//
// +kubebuilder:object:root=true
type VIPNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VIPNode `json:"items"`
}

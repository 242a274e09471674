package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// VIP is one placement unit: an address, or an IPv4 and an IPv6 address that are announced together.
//
// The controller writes it before anything is announced; its name is its first address with dashes, so the
// API server itself makes a double allocation impossible. It owns its placeholder pods: deleting a VIP means
// "this VIP ends".
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=vips,singular=vip,categories=evenkeel
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Standby",type=string,JSONPath=`.status.standbyNodes`
// +kubebuilder:printcolumn:name="Services",type=string,JSONPath=`.status.services`
// +kubebuilder:printcolumn:name="Announced",type=string,JSONPath=`.status.conditions[?(@.type=="Announced")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Announced")].reason`
// +kubebuilder:printcolumn:name="Pool",type=string,priority=1,JSONPath=`.spec.pool`
// +kubebuilder:printcolumn:name="Weight",type=integer,priority=1,JSONPath=`.spec.weight`
// +kubebuilder:printcolumn:name="Since",type=date,priority=1,JSONPath=`.status.since`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VIP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VIPSpec   `json:"spec"`
	Status VIPStatus `json:"status,omitempty"`
}

// VIPSpec is the allocation's record. Only the controller writes it.
type VIPSpec struct {
	// Addresses of this VIP, at most one of each family, in the order of the Service's families.
	// They never change during a VIP's life: their order doesn't either, as the first one names the VIP.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MaxLength=39
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) && ip.isCanonical(self)",message="must be an address in canonical form (RFC 5952)"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="addresses are immutable"
	// +kubebuilder:validation:XValidation:rule="self.size() < 2 || !self.all(a, isIP(a)) || ip(self[0]).family() != ip(self[1]).family()",message="two addresses must be of different families"
	// +listType=atomic
	Addresses []string `json:"addresses"`

	// Pool is the VIPPool the addresses were taken from.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Pool string `json:"pool,omitempty"`

	// Weight is what the VIP adds to its node's load: what its Service asks for.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	// +optional
	Weight int64 `json:"weight,omitempty"`

	// Services that use this VIP. Empty while the addresses are being released.
	// +kubebuilder:validation:MaxItems=64
	// +listType=map
	// +listMapKey=uid
	// +optional
	Services []ServiceReference `json:"services,omitempty"`

	// Move asks for a planned move: make before break, to that node. The controller clears it when the VIP is announced there or can't
	// be, and says in an event how it ended. Written by the rebalancer and by "kubectl evenkeel move".
	// +optional
	Move *MoveRequest `json:"move,omitempty"`

	// ReleasedAt is when the last Service let go of the VIP. The addresses stay taken until every
	// announcer has certainly removed them: address lifetime + linger later.
	// +optional
	ReleasedAt *metav1.Time `json:"releasedAt,omitempty"`
}

// MoveRequest asks for a move of one VIP.
type MoveRequest struct {
	// To is the node that is to announce the VIP.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	To string `json:"to"`
	// Reason is one word for status.lastMove, for example User.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9]*$`
	Reason string `json:"reason"`
	// RequestedAt is when it was asked for. A move that hasn't come about ten seconds later is given up.
	RequestedAt metav1.Time `json:"requestedAt"`
}

// ServiceReference names one Service by namespace, name and UID: a Service that was deleted and made anew
// under its old name is another one.
type ServiceReference struct {
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// +kubebuilder:validation:MaxLength=63
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

// VIPStatus says who announces the VIP, and why.
type VIPStatus struct {
	// Node announces the VIP. Empty while no node does.
	// +optional
	Node string `json:"node,omitempty"`

	// StandbyNodes guard the VIP, in order of succession.
	// +listType=atomic
	// +optional
	StandbyNodes []string `json:"standbyNodes,omitempty"`

	// Since is when Node began to announce.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`

	// Term counts the changes of roles; the active placeholder with the highest term is the owner.
	// +optional
	Term int64 `json:"term,omitempty"`

	// LastMove is the VIP's last change of node.
	// +optional
	LastMove *VIPMove `json:"lastMove,omitempty"`

	// Services that use the VIP, as namespace/name separated by commas (for people; spec.services is the truth).
	// +optional
	Services string `json:"services,omitempty"`

	// Conditions: Announced, Guarded, Conflict.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// VIPMove is one change of node.
type VIPMove struct {
	// +optional
	From string `json:"from,omitempty"`
	// +optional
	To string `json:"to,omitempty"`
	// Reason is one word, for example PlaceholderDeleted.
	Reason string      `json:"reason"`
	Time   metav1.Time `json:"time"`
}

// VIPList is a list of VIPs.
//
// +kubebuilder:object:root=true
type VIPList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VIP `json:"items"`
}

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// VIPPool is a set of addresses that Services may be given, and how and where these are announced.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,path=vippools,singular=vippool,categories=evenkeel
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="Auto-Assign",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="IPv4-Assigned",type=integer,JSONPath=`.status.ipv4.assigned`
// +kubebuilder:printcolumn:name="IPv4-Free",type=integer,JSONPath=`.status.ipv4.available`
// +kubebuilder:printcolumn:name="IPv6-Assigned",type=integer,JSONPath=`.status.ipv6.assigned`
// +kubebuilder:printcolumn:name="IPv6-Free",type=integer,priority=1,JSONPath=`.status.ipv6.available`
// +kubebuilder:printcolumn:name="Priority",type=integer,priority=1,JSONPath=`.spec.priority`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VIPPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   VIPPoolSpec   `json:"spec"`
	Status VIPPoolStatus `json:"status,omitempty"`
}

// VIPPoolSpec is written by the operator. Only addresses is required.
type VIPPoolSpec struct {
	// Addresses as prefixes ("192.0.2.0/28"), ranges ("192.0.2.10-192.0.2.50") or single addresses, in canonical form, one family per entry.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=2
	// +kubebuilder:validation:items:MaxLength=79
	// +kubebuilder:validation:items:XValidation:rule="self.contains('/') ? isCIDR(self) : (self.contains('-') ? (self.split('-').size() == 2 && self.split('-').all(a, isIP(a))) : isIP(self))",message="must be a prefix (192.0.2.0/28), a range (192.0.2.10-192.0.2.50) or an address"
	// +kubebuilder:validation:items:XValidation:rule="self.contains('/') ? (!isCIDR(self) || (cidr(self) == cidr(self).masked() && self == string(cidr(self)))) : self.split('-').all(a, !isIP(a) || ip.isCanonical(a))",message="must be in canonical form: no host bits in a prefix, no leading zeros, IPv6 in lower case and shortened (RFC 5952)"
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('-') || self.split('-').size() != 2 || !self.split('-').all(a, isIP(a)) || ip(self.split('-')[0]).family() == ip(self.split('-')[1]).family()",message="both ends of a range must be of one family"
	// +listType=atomic
	Addresses []string `json:"addresses"`

	// AutoAssign: Services that ask for nothing may be given these addresses. When false, they are only given to those that ask for this pool or one of its addresses.
	// +kubebuilder:default=true
	// +optional
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// Priority among pools for automatic assignment: higher first, then by name.
	// +kubebuilder:default=0
	// +optional
	Priority int32 `json:"priority,omitempty"`

	// AvoidBuggyIPs skips IPv4 addresses that end in .0 and .255, which some old clients refuse.
	// +optional
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// NamespaceSelector limits the pool to Services in matching namespaces. Absent: all.
	// +optional
	NamespaceSelector *metav1.LabelSelector `json:"namespaceSelector,omitempty"`

	// ServiceSelector limits the pool to matching Services. Absent: all.
	// +optional
	ServiceSelector *metav1.LabelSelector `json:"serviceSelector,omitempty"`

	// Interfaces on which these addresses may be announced, by exact name. Where given, they replace the rule that a node needs a NIC in the address's subnet.
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=15
	// +kubebuilder:validation:items:Pattern=`^[^\s/,]+$`
	// +listType=set
	// +optional
	Interfaces []string `json:"interfaces,omitempty"`

	// NodeSelector limits the nodes that may announce these addresses. Absent: all.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// Standbys of each VIP: nodes that guard it and take over within a second when the announcing node falls silent. Never more than the other eligible nodes.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2
	// +optional
	Standbys *int32 `json:"standbys,omitempty"`

	// MaxVIPsPerNode is how many active VIPs of this pool a node takes at most. Absent: no limit. Those that no node takes wait.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	MaxVIPsPerNode *int32 `json:"maxVIPsPerNode,omitempty"`

	// Tolerations are added to the placeholders', for nodes with taints of your own.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// PodTemplatePatch is merged into new placeholder pods (as a strategic merge patch of a Pod), for what the fields above don't say: labels and annotations of your own, affinity, nodeSelector, tolerations, topologySpreadConstraints, priorityClassName, imagePullSecrets and the container's resources. It adds to what the pool and the Service ask for. One that changes anything else, or that the API server refuses, isn't used at all, and condition Ready says why.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +optional
	PodTemplatePatch *runtime.RawExtension `json:"podTemplatePatch,omitempty"`

	// Rebalance says when and how fast these VIPs are evened out over the nodes. Absent: as the controller's flags say.
	// +optional
	Rebalance *RebalancePolicy `json:"rebalance,omitempty"`
}

// VIPPoolStatus is written by the controller.
type VIPPoolStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// IPv4 and IPv6 usage; absent where the pool has no addresses of the family.
	// +optional
	IPv4 *FamilyUsage `json:"ipv4,omitempty"`
	// +optional
	IPv6 *FamilyUsage `json:"ipv6,omitempty"`

	// Rebalance is the record of the moves that even out.
	// +optional
	Rebalance *RebalanceStatus `json:"rebalance,omitempty"`

	// Conditions: Ready. False names the entries that are wrong; the others work.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// FamilyUsage counts addresses of one family. Numbers above 2^53 are capped there, so that JSON readers agree on them.
type FamilyUsage struct {
	Assigned  int64 `json:"assigned"`
	Available int64 `json:"available"`
}

// VIPPoolList is a list of VIPPools.
//
// +kubebuilder:object:root=true
type VIPPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VIPPool `json:"items"`
}

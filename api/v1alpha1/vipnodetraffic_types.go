package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// VIPNodeTraffic is what a node carries for its VIPs: one per node, named as the node and owned by it. Its announcer writes it at
// most every 30 seconds and only when something really changed; no announcer watches it, so that its writes cost one event per
// reader. The scheduler and the controller place by it where they are told to.
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,path=vipnodetraffics,singular=vipnodetraffic,categories=evenkeel
// +kubebuilder:printcolumn:name="Bytes/s",type=integer,JSONPath=`.status.bytesPerSecond`
// +kubebuilder:printcolumn:name="Packets/s",type=integer,JSONPath=`.status.packetsPerSecond`
// +kubebuilder:printcolumn:name="Connections/s",type=integer,JSONPath=`.status.newConnectionsPerSecond`
// +kubebuilder:printcolumn:name="CPU-Permille",type=integer,JSONPath=`.status.cpuPermille`
// +kubebuilder:printcolumn:name="Measured",type=date,JSONPath=`.status.measuredAt`
type VIPNodeTraffic struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Status VIPNodeTrafficStatus `json:"status,omitempty"`
}

// VIPNodeTrafficStatus holds moving averages. A reader takes figures that are several minutes old for as good as none.
type VIPNodeTrafficStatus struct {
	// MeasuredAt is when the averages were taken.
	// +optional
	MeasuredAt metav1.Time `json:"measuredAt,omitempty"`

	// BytesPerSecond that came in for the node's VIPs and went out from them, from the network header on.
	// +kubebuilder:validation:Minimum=0
	BytesPerSecond int64 `json:"bytesPerSecond"`
	// PacketsPerSecond of the same.
	// +kubebuilder:validation:Minimum=0
	PacketsPerSecond int64 `json:"packetsPerSecond"`
	// NewConnectionsPerSecond to the node's VIPs.
	// +kubebuilder:validation:Minimum=0
	NewConnectionsPerSecond int64 `json:"newConnectionsPerSecond"`

	// CPUPermille is how busy the node's processors are, 0 to 1000.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	CPUPermille int32 `json:"cpuPermille"`

	// Interfaces that may announce VIPs, in order of name.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=128
	// +optional
	Interfaces []InterfaceTraffic `json:"interfaces,omitempty"`

	// VIPs that the node announces and that carry anything, busiest first; at most 512.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=512
	// +optional
	VIPs []VIPTraffic `json:"vips,omitempty"`
}

// InterfaceTraffic is how much a NIC carries, of VIPs or not.
type InterfaceTraffic struct {
	Name string `json:"name"`
	// BytesPerSecond received and sent, whichever is more.
	// +kubebuilder:validation:Minimum=0
	BytesPerSecond int64 `json:"bytesPerSecond"`
	// UtilizationPermille is that as a share of the NIC's speed, 0 to 1000; absent where the driver reports no speed.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	// +optional
	UtilizationPermille *int32 `json:"utilizationPermille,omitempty"`
}

// VIPTraffic is what one VIP carries.
type VIPTraffic struct {
	// Name of the VIP.
	Name string `json:"name"`
	// +kubebuilder:validation:Minimum=0
	BytesPerSecond int64 `json:"bytesPerSecond"`
	// +kubebuilder:validation:Minimum=0
	PacketsPerSecond int64 `json:"packetsPerSecond"`
	// +kubebuilder:validation:Minimum=0
	NewConnectionsPerSecond int64 `json:"newConnectionsPerSecond"`
}

// VIPNodeTrafficList is a list of VIPNodeTraffics.
// +kubebuilder:object:root=true
type VIPNodeTrafficList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VIPNodeTraffic `json:"items"`
}

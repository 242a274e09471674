package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RebalanceMode says who begins the moves that even out what deletions, joining and returning nodes left uneven.
// +kubebuilder:validation:Enum=Auto;Window;Manual;Off
type RebalanceMode string

// Modes.
const (
	// RebalanceAuto evens out at any time.
	RebalanceAuto RebalanceMode = "Auto"
	// RebalanceWindowed evens out while one of the windows is open.
	RebalanceWindowed RebalanceMode = "Window"
	// RebalanceManual evens out when somebody says "kubectl evenkeel rebalance --now".
	RebalanceManual RebalanceMode = "Manual"
	// RebalanceOff never evens out.
	RebalanceOff RebalanceMode = "Off"
)

// RebalancePolicy says when and how fast the pool's VIPs are evened out. What is absent is as the controller's flags say. Failover,
// drains and moves by hand don't ask it.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'Window' || (has(self.windows) && self.windows.size() > 0)",message="mode Window needs at least one window",fieldPath=".windows"
type RebalancePolicy struct {
	// Mode: Auto evens out at any time, Window while one of the windows is open, Manual when "kubectl evenkeel rebalance --now" says so, Off never.
	// YAML reads a bare Off as "false": write "Off" in quotes.
	// +optional
	Mode RebalanceMode `json:"mode,omitempty"`

	// ImbalanceThreshold is by how much the weighted numbers of active VIPs on the fullest and the emptiest node may differ before VIPs
	// are moved. Below the largest weight it is as good as that.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	// +optional
	ImbalanceThreshold *int32 `json:"imbalanceThreshold,omitempty"`

	// MovesAtOnce is how many moves may be under way. One is over when the new node announces the VIP.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	// +optional
	MovesAtOnce *int32 `json:"movesAtOnce,omitempty"`

	// MovesPerHour is how many moves may begin in any 60 minutes.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=600
	// +optional
	MovesPerHour *int32 `json:"movesPerHour,omitempty"`

	// Cooldown is how long a VIP that was moved to even out isn't moved to even out again. At most 24h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('24h')",message="must be at most 24h"
	// +optional
	Cooldown *metav1.Duration `json:"cooldown,omitempty"`

	// NodeSettle is how long a node must have been able to announce VIPs before VIPs are moved to it to even out. At most 1h.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('1h')",message="must be at most 1h"
	// +optional
	NodeSettle *metav1.Duration `json:"nodeSettle,omitempty"`

	// MaxTrafficShare in percent: in mode Auto a VIP that carries more than this share of the traffic of all VIPs isn't moved. 100: any is.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	// +optional
	MaxTrafficShare *int32 `json:"maxTrafficShare,omitempty"`

	// Windows in which mode Window moves VIPs. Other modes ignore them.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	// +optional
	Windows []RebalanceWindow `json:"windows,omitempty"`
}

// RebalanceWindow opens at times that a schedule names, and stays open for a while.
type RebalanceWindow struct {
	// Schedule in cron's five fields: minute, hour, day of month, month, day of week (0 is Sunday). A time that the zone's clock skips
	// opens the window when the clock has skipped it; one that comes twice opens it the first time.
	// +kubebuilder:validation:MinLength=9
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[0-9A-Za-z*?,/-]+( [0-9A-Za-z*?,/-]+){4}$`
	Schedule string `json:"schedule"`

	// Duration that it stays open, 1m to 168h, in real time: the clock's changes make it neither longer nor shorter.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(h|m|s|ms))+$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1m') && duration(self) <= duration('168h')",message="must be between 1m and 168h"
	Duration metav1.Duration `json:"duration"`

	// TimeZone of the schedule by its IANA name, for example Asia/Shanghai. Absent: UTC.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z][A-Za-z0-9_+/-]*$`
	// +kubebuilder:validation:XValidation:rule="self != 'Local'",message="must be an IANA name such as Europe/Berlin"
	// +optional
	TimeZone string `json:"timeZone,omitempty"`
}

// RebalanceStatus is what a change of the controller's leader must not make forgotten.
type RebalanceStatus struct {
	// Moves that began within the last hour, in order of time. Each is written here before it begins.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=600
	// +optional
	Moves []RebalanceMove `json:"moves,omitempty"`

	// HandledRequest repeats the annotation evenkeel.io/rebalance-now once nothing is left to do for it.
	// +kubebuilder:validation:MaxLength=64
	// +optional
	HandledRequest string `json:"handledRequest,omitempty"`
}

// RebalanceMove is one move that counts against the budget.
type RebalanceMove struct {
	// +kubebuilder:validation:MaxLength=253
	VIP string `json:"vip"`
	// Time when it began.
	Time metav1.MicroTime `json:"time"`
}

// PoolBalanced is True while the pool's VIPs are spread as evenly as promised; False says in a word what holds the moves back.
const PoolBalanced = "Balanced"

// Reasons of a VIP's last move that evened out, and one that a person asked for.
const (
	// ReasonNodeJoined: a node that joined or came back had less than its share.
	ReasonNodeJoined = "NodeJoined"
	// ReasonImbalance: deletions, failures or drains had left loads uneven.
	ReasonImbalance = "Imbalance"
	// ReasonUser: "kubectl evenkeel move", or the annotation that it writes.
	ReasonUser = "User"
)

// ReasonInvalidRebalance: the rebalance policy can't be followed; the message names the fields. The pool is treated as one of
// mode Manual meanwhile.
const ReasonInvalidRebalance = "InvalidRebalance"

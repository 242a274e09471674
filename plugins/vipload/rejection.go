package vipload

import fwk "k8s.io/kube-scheduler/framework"

// rejection is one reason for which a node can't take a VIP. Its message is constant, as the scheduler counts nodes by
// message ("0/5 nodes are available: 2 node(s) …, 3 node(s) …."), and that sentence is what the controller shows on the Service.
type rejection struct {
	label   string // of the metric
	message string
	code    fwk.Code
}

var (
	noAnnouncer = rejection{"no-announcer",
		"node(s) without an announcer (no VIPNode object: is the evenkeel-announcer running there?)", fwk.UnschedulableAndUnresolvable}
	excluded = rejection{"excluded",
		"node(s) labelled node.kubernetes.io/exclude-from-external-load-balancers", fwk.UnschedulableAndUnresolvable}
	evacuated = rejection{"evacuated",
		"node(s) that are evacuated (kubectl evenkeel evacuate NODE --undo ends that)", fwk.UnschedulableAndUnresolvable}
	sickDataPlane = rejection{"data-plane",
		"node(s) whose data plane is not healthy (see condition DataPlaneHealthy of the VIPNode)", fwk.UnschedulableAndUnresolvable}
	suspected = rejection{"suspect",
		"node(s) that fell silent and have not acknowledged that they are back (see spec.suspect of the VIPNode)", fwk.UnschedulableAndUnresolvable}
	noActive = rejection{"no-active",
		"the VIP's active placeholder has no node yet, and its standby goes by that", fwk.UnschedulableAndUnresolvable}
	noSubnet = rejection{"no-subnet",
		"node(s) without a NIC in the subnet of the VIP (the addresses of a node's NICs are in its VIPNode)", fwk.UnschedulableAndUnresolvable}
	noInterface = rejection{"no-interface",
		"node(s) without any of the interfaces that the pool names", fwk.UnschedulableAndUnresolvable}
	noCarrier = rejection{"no-carrier",
		"node(s) whose NIC for the VIP has no carrier", fwk.UnschedulableAndUnresolvable}
	noEndpoint = rejection{"no-endpoint",
		"node(s) without a ready endpoint of the Service (externalTrafficPolicy is Local)", fwk.UnschedulableAndUnresolvable}
	poolFull = rejection{"pool-limit",
		"node(s) that hold as many VIPs of the pool as it allows on one (see maxVIPsPerNode of the VIPPool)", fwk.Unschedulable}
	nodeFull = rejection{"node-limit",
		"node(s) that hold as many VIPs as their annotation evenkeel.io/max-vips allows", fwk.Unschedulable}
	sameVIP = rejection{"same-vip",
		"node(s) that hold a placeholder of this VIP already", fwk.Unschedulable}
)

// status counts the rejection and makes a new Status of it: the framework writes the plugin's name into each.
func (r rejection) status() *fwk.Status {
	filterRejections.WithLabelValues(r.label).Inc()
	return fwk.NewStatus(r.code, r.message)
}

package placeholder

// Orders that people give, on objects that aren't ours or are the controller's. kubectl-evenkeel writes them; so may you.
const (
	// AnnotationRebalance set to RebalanceNever on a Service: its VIPs aren't moved to even out the load.
	AnnotationRebalance = "evenkeel.io/rebalance"
	// RebalanceNever is the one value of AnnotationRebalance.
	RebalanceNever = "never"
	// AnnotationRebalanceNow on a VIPPool is the time (RFC 3339) at which somebody asked for its VIPs to be evened out now.
	AnnotationRebalanceNow = "evenkeel.io/rebalance-now"
	// AnnotationMoveTo on a VIP names the node that it is to move to. The controller removes it when that is done or refused.
	AnnotationMoveTo = "evenkeel.io/move-to"
	// LabelEvacuate on a Node, with whatever value: its VIPs leave, and none comes until the label is gone.
	LabelEvacuate = "evenkeel.io/evacuate"
)

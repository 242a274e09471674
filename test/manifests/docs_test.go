package manifests

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/failover"
	"evenkeel.io/evenkeel/controller/ipam"
)

// TestObjectsAreDocumented: docs/objects.md names every key that people meet, and no key that doesn't exist.
func TestObjectsAreDocumented(t *testing.T) {
	keys := []string{
		placeholder.LabelVIP, placeholder.LabelRole,
		placeholder.AnnotationAddresses, placeholder.AnnotationWeight, placeholder.AnnotationInterfaces, placeholder.AnnotationTerm,
		placeholder.AnnotationPeers, placeholder.AnnotationPorts, placeholder.AnnotationService, placeholder.AnnotationPolicy, placeholder.AnnotationHandoff, placeholder.AnnotationRelease,
		placeholder.AnnotationPool, placeholder.AnnotationRequested, placeholder.AnnotationSharing, placeholder.AnnotationStandbys, placeholder.AnnotationLeaving,
		placeholder.AnnotationCapacity, placeholder.AnnotationMaxVIPs, placeholder.AnnotationMaxVIPsPerNode,
		placeholder.AnnotationVIPs, placeholder.LabelSpreadGroup,
		placeholder.AnnotationNodeSelector, placeholder.AnnotationSpread, placeholder.AnnotationSpreadTopology,
		string(placeholder.ConditionReady), string(placeholder.ConditionAnnounced), v1alpha1.ServiceAnnounced,
		placeholder.DefaultLoadBalancerClass, v1alpha1.GroupVersion.String(),
		placeholder.AnnotationRebalance, placeholder.AnnotationRebalanceNow, placeholder.AnnotationMoveTo, placeholder.LabelEvacuate,
	}
	words := []string{
		placeholder.ReasonAnnouncing, placeholder.ReasonProbing, placeholder.ReasonConflict, placeholder.ReasonNoInterface, placeholder.ReasonNoNodeAddress,
		placeholder.ReasonBindFailed, placeholder.ReasonInvalid, placeholder.ReasonSuperseded, placeholder.ReasonLost,
		placeholder.ReasonGuarding, placeholder.ReasonNotHeard, placeholder.ReasonNothingToGuard, placeholder.ReasonTookOver,
		failover.WhyNodeSilent, failover.WhyDeleted, failover.WhyNodeUnfit, failover.WhyNodeSick, failover.WhyEvacuated, failover.WhyUnconfirmed, failover.WhyUnplaced, failover.WhyRolledBack,
		failover.WhyEndpoints, failover.NoOtherEndpoint, v1alpha1.ReasonNoEndpoints,
		string(ipam.NotShareable), placeholder.ForeignMetalLBPool, placeholder.ForeignMetalLBAddresses, placeholder.ForeignMetalLBSharing, placeholder.ForeignKubeVIPAddresses,
		v1alpha1.VIPAnnounced, v1alpha1.VIPConflict, v1alpha1.VIPGuarded, v1alpha1.ReasonUnschedulable, v1alpha1.ReasonNotReported, v1alpha1.ReasonNoPlaceholder, v1alpha1.ReasonReleasing,
		placeholder.CapacityNICSpeed,
		v1alpha1.PoolReady, v1alpha1.PoolBalanced, v1alpha1.ReasonInvalidRebalance, v1alpha1.ReasonNodeJoined, v1alpha1.ReasonImbalance, v1alpha1.ReasonUser, v1alpha1.ReasonReversedRange, v1alpha1.ReasonOverlap, v1alpha1.ReasonInvalidPoolRef, v1alpha1.ReasonInvalidPatch,
		v1alpha1.NodeDataPlaneHealthy, v1alpha1.NodeProtected, v1alpha1.NodeHandoff, v1alpha1.NodeStrictARP, v1alpha1.NodeTrafficMeasured,
	}
	text, err := os.ReadFile("../../docs/objects.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, found := range regexp.MustCompile(`\bevenkeel\.io/[A-Za-z0-9-]+`).FindAllString(string(text), -1) {
		named = append(named, found)
		if !slices.Contains(keys, found) {
			t.Errorf("docs/objects.md names %s, which nothing reads or writes", found)
		}
	}
	for _, key := range keys {
		if !slices.Contains(named, key) {
			t.Errorf("docs/objects.md doesn't name %s", key)
		}
	}
	for _, word := range words {
		if !regexp.MustCompile("`" + regexp.QuoteMeta(word) + "`").Match(text) {
			t.Errorf("docs/objects.md doesn't name %s", word)
		}
	}
}

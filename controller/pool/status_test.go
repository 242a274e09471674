package pool

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/ipam"
	"evenkeel.io/evenkeel/controller/ledger"
)

func TestStatus(t *testing.T) {
	broken := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Sometimes"}}}
	impossible := &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed, Windows: []v1alpha1.RebalanceWindow{{Schedule: "0 3 31 2 *", TimeZone: "Mars/Olympus"}}}
	tests := []struct {
		name     string
		pool     v1alpha1.VIPPoolSpec
		problems []ipam.Problem
		refusal  string
		reason   string
		says     []string
	}{
		{name: "sound", reason: v1alpha1.ReasonPoolValid},
		{name: "the gravest problem is the reason, all are in the message", problems: []ipam.Problem{{Kind: ipam.Overlapping, Message: "overlap"}, {Kind: ipam.Unreadable, Message: "nonsense"}},
			reason: v1alpha1.ReasonInvalidEntry, says: []string{"nonsense; overlap"}},
		{name: "reversed", problems: []ipam.Problem{{Kind: ipam.Reversed, Message: "backwards"}}, reason: v1alpha1.ReasonReversedRange, says: []string{"backwards"}},
		{name: "a selector that can't be read", pool: v1alpha1.VIPPoolSpec{NodeSelector: broken}, reason: v1alpha1.ReasonInvalidPoolRef, says: []string{"nodeSelector", "Sometimes"}},
		{name: "a patch that can't be used", refusal: "spec.hostNetwork is not for a patch to change", reason: v1alpha1.ReasonInvalidPatch, says: []string{"podTemplatePatch isn't used: spec.hostNetwork"}},
		{name: "wrong addresses are graver than a wrong patch", refusal: "no", problems: []ipam.Problem{{Kind: ipam.Overlapping, Message: "overlap"}}, reason: v1alpha1.ReasonOverlap, says: []string{"overlap; podTemplatePatch"}},
		{name: "a rebalance policy that can't be followed", pool: v1alpha1.VIPPoolSpec{Rebalance: impossible}, reason: v1alpha1.ReasonInvalidRebalance,
			says: []string{"spec.rebalance.windows[0].schedule", "never comes", "spec.rebalance.windows[0].timeZone", "IANA"}},
		{name: "it is less grave than others", pool: v1alpha1.VIPPoolSpec{NodeSelector: broken, Rebalance: impossible}, reason: v1alpha1.ReasonInvalidPoolRef,
			says: []string{"nodeSelector", "spec.rebalance.windows[0].schedule"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pool := &v1alpha1.VIPPool{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Spec: tt.pool}
			got := status(pool, ledger.PoolState{Problems: tt.problems, Usage: map[ipam.Family]ipam.Usage{ipam.IPv6: {Assigned: 1, Available: 2}}}, tt.refusal, metav1.Now())
			c := got.Conditions[0]
			if c.Reason != tt.reason || (c.Status == metav1.ConditionTrue) != (tt.reason == v1alpha1.ReasonPoolValid) || c.ObservedGeneration != 3 || got.ObservedGeneration != 3 {
				t.Errorf("condition %+v", c)
			}
			for _, says := range tt.says {
				if !strings.Contains(c.Message, says) {
					t.Errorf("message %q doesn't say %q", c.Message, says)
				}
			}
			if got.IPv4 != nil || got.IPv6 == nil || *got.IPv6 != (v1alpha1.FamilyUsage{Assigned: 1, Available: 2}) {
				t.Errorf("usage %v %v", got.IPv4, got.IPv6)
			}
		})
	}
}

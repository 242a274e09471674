package main

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestStatus(t *testing.T) {
	broken := pool("broken", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed, Windows: []v1alpha1.RebalanceWindow{{Schedule: "0 3 31 2 *"}}})
	night := pool("night", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed, Windows: []v1alpha1.RebalanceWindow{{
		Schedule: "0 3 * * *", TimeZone: "Asia/Shanghai", Duration: metav1.Duration{Duration: time.Hour},
	}}})
	night.Status.Conditions = []metav1.Condition{{Type: v1alpha1.PoolBalanced, Status: metav1.ConditionFalse, Reason: "OutsideWindow"}}
	moving := vip("192.0.2.13", "n2", "shop/mail")
	moving.Annotations = map[string]string{placeholder.AnnotationMoveTo: "n1"}
	moving.Status.LastMove = &v1alpha1.VIPMove{Reason: v1alpha1.ReasonNodeJoined, Time: metav1.NewTime(now.Add(-time.Minute))}
	out, _, err := three(t, broken, night, moving).run(t, "status")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out,
		"NODE", "VIPS", "WEIGHT", "STANDBYS", "STATE",
		"n1", "2", "2", "1", "ready", "n2", "1", "1", "2", "ready", "n3", "0", "0", "0", "ready, settling until ", "(in 60s)",
		"POOL", "MODE", "BALANCED", "HELD VIPS", "MAY MOVE NOW",
		"broken", "Manual", "unknown", "none", "no: its policy can't be followed",
		"night", "Window", "no: OutsideWindow", "none", "no: OutsideWindow until ", "(in 7h",
		"office", "4", "Auto", "unknown", "1 Cooldown, 1 Never", "yes, 60 more within the hour",
		"VIP 192-0-2-13 is to move from n2 to n1.")
}

func TestStatusWide(t *testing.T) {
	traffic := &v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: v1alpha1.VIPNodeTrafficStatus{
		MeasuredAt: metav1.NewTime(now.Add(-time.Minute)), BytesPerSecond: 2_500_000,
		VIPs: []v1alpha1.VIPTraffic{{Name: "192-0-2-11", BytesPerSecond: 2_400_000}, {Name: "192-0-2-10", BytesPerSecond: 100_000}},
	}}
	out, _, err := three(t, traffic).run(t, "status", "-o", "wide")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "MB/S", "NAMES", "n1", "2.5", "192-0-2-10,192-0-2-11", "office", "1 Never, 1 Traffic")
}

func TestStatusOfWhatKeepsVIPsAway(t *testing.T) {
	away, sick := node("away", 0), vipNode("sick")
	away.Labels = map[string]string{placeholder.LabelEvacuate: "true"}
	away.Spec.Unschedulable = true
	sick.Status.Conditions = []metav1.Condition{{Type: v1alpha1.NodeDataPlaneHealthy, Status: metav1.ConditionFalse}}
	sick.Spec.Suspect = &v1alpha1.Suspicion{ID: "1", Reason: "FellSilent"}
	out, _, err := three(t, away, node("sick", 0), sick, vipNode("gone")).run(t, "status")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "away", "evacuated, cordoned, no announcer", "gone", "no such Node any more", "sick", "suspect: FellSilent, its data plane isn't healthy")
}

func TestStatusOfAnEmptyCluster(t *testing.T) {
	out, _, err := tool{client: clusterOf(t, interceptor.Funcs{})}.run(t, "status")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "No node has an announcer yet", "There is no VIPPool yet")
}

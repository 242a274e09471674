package main

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// four VIPs are on n1 and none on n2, which has been able to announce for readyFor.
func four(t *testing.T, readyFor time.Duration, policy *v1alpha1.RebalancePolicy) tool {
	t.Helper()
	objects := []client.Object{node("n1", 0), vipNode("n1"), node("n2", readyFor), vipNode("n2"), pool("office", policy)}
	for i := range 4 {
		address, name := fmt.Sprintf("192.0.2.%d", 10+i), fmt.Sprintf("web%d", i)
		active := pod(address, "n1", placeholder.Active)
		for _, kind := range []corev1.PodConditionType{placeholder.ConditionReady, placeholder.ConditionAnnounced} {
			active.Status.Conditions = append(active.Status.Conditions, corev1.PodCondition{
				Type: kind, Status: corev1.ConditionTrue, Reason: placeholder.ReasonAnnouncing, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour)),
			})
		}
		never := ""
		if i == 0 {
			never = placeholder.RebalanceNever
		}
		objects = append(objects, vip(address, "n1", "shop/"+name), active, service("shop", name, never))
	}
	return tool{client: clusterOf(t, interceptor.Funcs{}, objects...)}
}

func TestDryRunPlansAsTheControllerDoes(t *testing.T) {
	u := four(t, 0, nil)
	out, _, err := u.run(t, "rebalance", "--dry-run")
	if err != nil {
		t.Fatal(err)
	}
	var p v1alpha1.VIPPool
	if u.get(t, "office", &p); len(p.Annotations) > 0 {
		t.Errorf("a dry run wrote %v", p.Annotations)
	}
	contains(t, out, "VIP", "FROM", "TO", "WHY", "192-0-2-11", "n1", "n2", "Imbalance", "192-0-2-12", "NODE", "n1", "4", "2", "n2", "0", "2", "Moves of pool office: held by MovesUnderWay")
}

func TestDryRunSaysWhatHoldsMovesBack(t *testing.T) {
	out, _, err := four(t, 0, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceManual}).run(t, "rebalance", "--dry-run")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "192-0-2-11", "192-0-2-12", "Moves of pool office: held by Manual") // these --now would move
	out, _, err = four(t, time.Minute, nil).run(t, "rebalance", "--dry-run")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "Nothing would be moved", "Moves to node n2: held by NodeSettling until")
}

package main

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

func (u tool) get(t *testing.T, name string, into client.Object) {
	t.Helper()
	if err := u.client.Get(context.Background(), client.ObjectKey{Name: name}, into); err != nil {
		t.Fatal(err)
	}
}

func TestEvacuate(t *testing.T) {
	u := three(t)
	out, warnings, err := u.run(t, "evacuate", "n1")
	if err != nil || warnings != "" {
		t.Fatal(err, warnings)
	}
	contains(t, out, "node/n1 is evacuated: it has 2 VIPs", "kubectl evenkeel evacuate n1 --undo")
	var n corev1.Node
	if u.get(t, "n1", &n); n.Labels[placeholder.LabelEvacuate] != "true" {
		t.Errorf("labels %v", n.Labels)
	}
	if _, _, err := u.run(t, "evacuate", "n1"); err != nil {
		t.Errorf("a second time: %v", err)
	}
	out, _, err = u.run(t, "evacuate", "n1", "--undo")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "node/n1 takes VIPs again")
	n = corev1.Node{}
	if u.get(t, "n1", &n); len(n.Labels) > 0 {
		t.Errorf("labels %v", n.Labels)
	}
	out, _, err = u.run(t, "evacuate", "n1", "--undo")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, out, "node/n1 is not evacuated")
}

func TestEvacuatingTheLastNodeWarns(t *testing.T) {
	u := three(t)
	for _, name := range []string{"n2", "n3", "n1"} {
		_, warnings, err := u.run(t, "evacuate", name)
		if err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(warnings, "no other node is ready"); warned != (name == "n1") {
			t.Errorf("evacuating %s warned: %q", name, warnings)
		}
	}
}

func TestMove(t *testing.T) {
	cordoned, cut, suspect, evacuated := node("cordoned", 0), vipNode("cut"), vipNode("suspect"), node("evacuated", 0)
	cordoned.Spec.Unschedulable = true
	cut.Status.Interfaces[0].Carrier = false
	suspect.Spec.Suspect = &v1alpha1.Suspicion{ID: "1", Reason: "FellSilent"}
	evacuated.Labels = map[string]string{placeholder.LabelEvacuate: ""}
	tests := []struct {
		name, vip, to string
		says          string // empty where it is refused
		refusal       string
	}{
		{"by its address", "192.0.2.10", "n2", "vip/192-0-2-10 is to move from n1 to n2", ""},
		{"by its name", "192-0-2-10", "n2", "vip/192-0-2-10 is to move from n1 to n2", ""},
		{"to where it is", "192.0.2.10", "n1", "vip/192-0-2-10 is on n1", ""},
		{"to a node that has just come back", "192.0.2.10", "n3", "is to move from n1 to n3", ""},
		{"to a cordoned node", "192.0.2.10", "cordoned", "", "kubectl uncordon cordoned"},
		{"to a node without carrier", "192.0.2.10", "cut", "", "NoCarrier"},
		{"to a suspect node", "192.0.2.10", "suspect", "", "until its announcer says that it is back"},
		{"to an evacuated node", "192.0.2.10", "evacuated", "", "evacuate evacuated --undo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := three(t, cordoned, vipNode("cordoned"), node("cut", 0), cut, node("suspect", 0), suspect, evacuated, vipNode("evacuated"))
			out, _, err := u.run(t, "move", tt.vip, "--to", tt.to)
			if (err == nil) != (tt.refusal == "") || err != nil && !strings.Contains(err.Error(), tt.refusal) {
				t.Fatalf("error %v, want %q", err, tt.refusal)
			}
			contains(t, out, tt.says)
			var v v1alpha1.VIP
			u.get(t, "192-0-2-10", &v)
			if to, ordered := v.Annotations[placeholder.AnnotationMoveTo]; ordered != strings.Contains(tt.says, "to move") || ordered && to != tt.to {
				t.Errorf("annotations %v", v.Annotations)
			}
		})
	}
}

func TestRebalanceNow(t *testing.T) {
	u := three(t, pool("lab", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceOff}), pool("night", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceManual}))
	out, _, err := u.run(t, "rebalance", "--now")
	if err == nil || !strings.Contains(err.Error(), "VIPPool lab: its mode is Off") {
		t.Errorf("error %v", err)
	}
	contains(t, out, "vippool/night is evened out now. May move: yes, 60 more within the hour", "vippool/office", "VIPs that stay: 1 Never")
	for name, want := range map[string]bool{"office": true, "night": true, "lab": false} {
		var p v1alpha1.VIPPool
		u.get(t, name, &p)
		if got, err := policy.Requested(&p, now); got != want || err != nil {
			t.Errorf("%s is asked for: %t, %v", name, got, err)
		}
	}
	if _, _, err := u.run(t, "rebalance", "--now", "office"); err != nil {
		t.Error(err)
	}
}

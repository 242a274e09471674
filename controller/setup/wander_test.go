package setup

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// wander plays the scheduler, which places what waits on a node that serves, and the announcers, which do as the roles say, until
// nothing changes any more.
func (w *world) wander(random *rand.Rand, serving []string) {
	w.t.Helper()
	for range 20 {
		w.settle()
		changed := false
		var pods corev1.PodList
		w.list(&pods)
		taken := map[string]bool{}
		for _, pod := range pods.Items {
			taken[pod.Spec.NodeName] = true
		}
		for _, pod := range pods.Items {
			active := placeholder.RoleOf(&pod) == placeholder.Active
			node := pod.Spec.NodeName
			if node == "" {
				free := slices.DeleteFunc(slices.Clone(serving), func(name string) bool { return taken[name] })
				if len(free) == 0 {
					continue
				}
				node = free[random.IntN(len(free))]
				taken[node] = true
			}
			announced := placeholder.ConditionOf(&pod, placeholder.ConditionAnnounced)
			if pod.Spec.NodeName != "" && announced != nil && (announced.Status == corev1.ConditionTrue) == active {
				continue
			}
			changed = true
			if active {
				w.announce(pod.Name, node)
			} else {
				w.guard(pod.Name, node)
			}
		}
		if !changed {
			return
		}
	}
	w.t.Fatal("20 rounds of scheduler and announcers, and no end")
}

// TestHoweverEndpointsWanderTheVIPIsWhereOneIs changes endpoints at random, in the middle of moves too, restarts the controller now and
// then, and looks in the end whether the VIP and its standbys are where endpoints are.
func TestHoweverEndpointsWanderTheVIPIsWhereOneIs(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			w := localWorld(t, 4, "node-1", "node-2")
			for range 12 {
				var on, serving []string
				for i := range 4 {
					name := fmt.Sprintf("node-%d", i+1)
					switch random.IntN(4) {
					case 0:
						on, serving = append(on, name), append(serving, name)
					case 1:
						on = append(on, name+":draining")
					case 2:
						on = append(on, name+":down")
					}
				}
				if len(serving) == 0 {
					for _, one := range on {
						if name, ok := strings.CutSuffix(one, ":draining"); ok {
							serving = append(serving, name)
						}
					}
				}
				w.endpoints(on...)
				switch random.IntN(4) {
				case 0: // the next change comes at once
					w.settle()
					continue
				case 1:
					w.restart()
				}
				w.wander(random, serving)
				w.pass(3 * time.Second)
				w.wander(random, serving)
				w.pass(3 * time.Second)
				w.isWhere(on, serving)
			}
		})
	}
}

func (w *world) isWhere(on, serving []string) {
	w.t.Helper()
	v := w.vip("192-0-2-10")
	announced := meta.FindStatusCondition(v.Status.Conditions, v1alpha1.VIPAnnounced)
	if len(serving) == 0 {
		if v.Status.Node != "" || announced.Reason != v1alpha1.ReasonNoEndpoints {
			w.t.Fatalf("endpoints %v: on %q, condition %+v", on, v.Status.Node, announced)
		}
		return
	}
	var pods corev1.PodList
	w.list(&pods)
	standbys, actives := 0, 0
	for _, pod := range pods.Items {
		if !slices.Contains(serving, pod.Spec.NodeName) {
			w.t.Fatalf("endpoints %v: a %s on %q", on, placeholder.RoleOf(&pod), pod.Spec.NodeName)
		}
		if placeholder.RoleOf(&pod) == placeholder.Active {
			actives++
		} else {
			standbys++
		}
	}
	if actives != 1 || standbys != min(1, len(serving)-1) || !slices.Contains(serving, v.Status.Node) {
		w.t.Fatalf("endpoints %v: %d actives, %d standbys, announced by %q", on, actives, standbys, v.Status.Node)
	}
}

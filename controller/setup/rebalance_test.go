package setup

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/place"
)

// play plays the scheduler, which binds placeholders to the node with the fewest of their role where they may be, and all announcers.
func (w *world) play(refusing ...string) {
	w.t.Helper()
	var pods corev1.PodList
	var nodes corev1.NodeList
	w.list(&pods)
	w.list(&nodes)
	load, has := map[string]int{}, map[string]bool{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		load[pod.Spec.NodeName+string(placeholder.RoleOf(pod))]++
		has[pod.Spec.NodeName+pod.Labels[placeholder.LabelVIP]] = true
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		role, vip, node := placeholder.RoleOf(pod), pod.Labels[placeholder.LabelVIP], pod.Spec.NodeName
		if node == "" {
			free := slices.DeleteFunc(slices.Clone(nodes.Items), func(n corev1.Node) bool {
				target := place.Target(pod)
				return n.Spec.Unschedulable || has[n.Name+vip] || target != "" && target != n.Name || slices.Contains(refusing, n.Name)
			})
			if len(free) == 0 {
				continue
			}
			node = slices.MinFunc(free, func(a, b corev1.Node) int {
				return cmp.Or(cmp.Compare(load[a.Name+string(role)], load[b.Name+string(role)]), strings.Compare(a.Name, b.Name))
			}).Name
			load[node+string(role)]++
			has[node+vip] = true
		}
		c := placeholder.ConditionOf(pod, placeholder.ConditionAnnounced)
		switch announced := c != nil && c.Status == corev1.ConditionTrue; {
		case role == placeholder.Active && !announced:
			w.announce(pod.Name, node)
		case role == placeholder.Standby && (c == nil || announced):
			w.guard(pod.Name, node)
		}
	}
}

// live lets time pass, second by second, with everybody at work.
func (w *world) live(d time.Duration, refusing ...string) {
	w.t.Helper()
	for end := w.clock.Now().Add(d); w.clock.Now().Before(end); w.clock.Step(time.Second) {
		w.settle()
		w.play(refusing...)
		w.settle()
		if _, err := w.evener.Turn(w.ctx); err != nil {
			w.t.Fatal(err)
		}
	}
	w.settle()
}

// announcers is how many VIPs each node announces by the VIPs' statuses, in order of its name.
func (w *world) announcers() string {
	w.t.Helper()
	var vips v1alpha1.VIPList
	var nodes corev1.NodeList
	w.list(&vips)
	w.list(&nodes)
	count := map[string]int{}
	for i := range vips.Items {
		count[vips.Items[i].Status.Node]++
	}
	var texts []string
	for i := range nodes.Items {
		texts = append(texts, fmt.Sprint(count[nodes.Items[i].Name]))
	}
	return strings.Join(texts, " ")
}

// joined is a world of two nodes with three VIPs each, which a third one joins.
func joined(t *testing.T) *world {
	t.Helper()
	objects := append(aNode(1), aNode(2)...)
	objects = append(objects, aPool("main", "192.0.2.10-192.0.2.40"))
	for i := range 6 {
		objects = append(objects, aService(fmt.Sprintf("web-%02d", i)))
	}
	w := newWorld(t, objects...)
	w.live(3 * time.Second)
	w.wants("VIPs before", w.announcers(), "3 3")
	for _, obj := range aNode(3) {
		w.create(obj)
	}
	return w
}

// wantsEven looks at what the third node's share came to.
func (w *world) wantsEven() {
	w.t.Helper()
	w.wants("VIPs", w.announcers(), "2 2 2")
	var vips v1alpha1.VIPList
	w.list(&vips)
	moves := 0
	for i := range vips.Items {
		if move := vips.Items[i].Status.LastMove; move != nil {
			moves++
			if move.To != "node-3" || move.Reason != v1alpha1.ReasonNodeJoined {
				w.t.Errorf("%s: %+v", vips.Items[i].Name, move)
			}
		}
	}
	var pods corev1.PodList
	w.list(&pods)
	var p v1alpha1.VIPPool
	if err := w.c.Get(w.ctx, types.NamespacedName{Name: "main"}, &p); err != nil {
		w.t.Fatal(err)
	}
	if moves != 2 || len(pods.Items) != 12 || len(p.Status.Rebalance.Moves) != 2 {
		w.t.Errorf("%d moves, %d placeholders, %d moves in the budget", moves, len(pods.Items), len(p.Status.Rebalance.Moves))
	}
	if c := meta.FindStatusCondition(p.Status.Conditions, v1alpha1.PoolBalanced); c == nil || c.Status != metav1.ConditionTrue {
		w.t.Errorf("condition %+v", c)
	}
}

func TestANodeThatJoinsGetsItsShareMoveByMove(t *testing.T) {
	w := joined(t)
	w.live(6 * time.Second)
	w.clock.Step(108 * time.Second)
	w.live(3 * time.Second)
	w.wants("VIPs while it settles", w.announcers(), "3 3 0")
	w.live(12 * time.Second)
	w.wantsEven()
	w.writes = nil
	w.live(8 * time.Second)
	w.wants("writes once all is even", strings.Join(w.writes, ", "), "")
}

func TestControllersThatDieInAPlanLeaveItToTheNext(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := joined(t)
			random := rand.New(rand.NewPCG(seed, 2))
			w.clock.Step(2 * time.Minute)
			for range 3 {
				w.live(time.Duration(5+random.IntN(3)) * time.Second)
				w.restart()
			}
			w.live(12 * time.Second)
			w.wantsEven()
		})
	}
}

func TestANodeThatTakesNothingStopsThePlanForAMinute(t *testing.T) {
	w := joined(t)
	w.clock.Step(2 * time.Minute)
	w.told()
	w.live(15*time.Second, "node-3")
	w.clock.Step(30 * time.Second)
	w.live(2*time.Second, "node-3")
	w.wants("VIPs", w.announcers(), "3 3 0")
	if n := strings.Count(w.told(), "Warning MoveFailed"); n != 1 {
		t.Errorf("%d moves failed", n)
	}
	w.clock.Step(20 * time.Second)
	w.live(12 * time.Second)
	w.wants("VIPs once it takes some", w.announcers(), "2 2 2")
}

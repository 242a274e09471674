package rebalancer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

func number(n int32) *int32 { return &n }

func TestAFifthNodeGetsItsShareByTenMoves(t *testing.T) {
	w := aTown(t, nil, 13, 13, 12, 12)
	w.pass(10 * time.Second)
	w.wants("writes before it joins", len(w.writes), 0)
	w.join(5, 0)
	w.pass(100 * time.Second)
	w.wants("moves while it settles", len(w.begun), 0)
	w.wants("condition", w.balanced(), "False NodeSettling VIPs are uneven. node n5: it has been able to announce for less than 2m0s (until 12:02:10 UTC)")
	w.pass(40 * time.Second)
	w.wants("VIPs", w.counts(), "10 10 10 10 10")
	w.wants("moves", len(w.begun), 10)
	w.wants("moved twice", w.twice(), "")
	w.wants("under way at once", w.crowd, 1)
	w.wants("condition", w.balanced(), "True Even")
	w.writes = nil
	w.pass(15 * time.Minute)
	w.wants("writes once all is even", strings.Join(w.writes, ", "), "")
}

func TestKilledAtAnyPointAPlanIsFinishedByTheNext(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			w := aTown(t, nil, 5, 5, 5, 5)
			w.join(5, time.Hour)
			deaths, next := 0, random.IntN(6)
			w.die = func() (bool, bool) {
				if next--; next >= 0 || deaths >= 2 {
					return false, false
				}
				deaths++
				next = random.IntN(8)
				before := random.IntN(2) == 0
				return before, !before
			}
			w.pass(30 * time.Second)
			w.wants("deaths", deaths, 2)
			w.wants("VIPs", w.counts(), "4 4 4 4 4")
			w.wants("moves", len(w.begun), 4)
			w.wants("moved twice", w.twice(), "")
			w.wants("under way at once", w.crowd, 1)
		})
	}
}

func TestTheBudgetHoldsAcrossDeaths(t *testing.T) {
	w := aTown(t, &v1alpha1.RebalancePolicy{MovesPerHour: number(3)}, 10, 0)
	for range 10 {
		w.restart()
		w.pass(8 * time.Second)
	}
	w.wants("moves", len(w.begun), 3)
	if c := w.balanced(); !strings.HasPrefix(c, "False Budget 2 moves are missing. 3 moves may begin in an hour (until 13:00:") {
		t.Error(c)
	}
	w.writes = nil
	w.pass(10 * time.Minute)
	w.wants("writes while it waits", strings.Join(w.writes, ", "), "")
	w.pass(60 * time.Minute)
	w.wants("VIPs", w.counts(), "5 5")
}

func TestAFailedMoveRestsAMinuteAndIsTold(t *testing.T) {
	w := aTown(t, nil, 3, 1)
	w.refuses["n2"] = true
	w.pass(10 * time.Second)
	w.wants("moves", len(w.begun), 1)
	if c := w.balanced(); !strings.HasPrefix(c, "False MoveFailed 1 moves are missing. the move of VIP "+w.begun[0].vip+" to node n2 came to nothing") {
		t.Error(c)
	}
	w.pass(50 * time.Second)
	w.wants("moves within the minute", len(w.begun), 1)
	w.refuses = map[string]bool{}
	w.pass(20 * time.Second)
	w.wants("VIPs", w.counts(), "2 2")
	w.wants("moved twice", w.twice(), "") // it cools down, so that another one is taken
	w.wants("condition", w.balanced(), "True Even")
}

func TestNothingBeginsBeforeItIsCalm(t *testing.T) {
	w := aTown(t, nil, 4, 0)
	w.pass(4 * time.Second)
	w.wants("moves at first", len(w.begun), 0)
	w.pass(2 * time.Second)
	if len(w.begun) == 0 {
		t.Error("nothing has moved in 6 s")
	}
	w = aTown(t, nil, 40, 0)
	for range 25 { // Services come all the time
		w.vip("main", "n1")
		w.pass(2 * time.Second)
	}
	w.wants("moves", len(w.begun), 0)
	for range 8 {
		w.vip("main", "n1")
		w.pass(2 * time.Second)
	}
	if len(w.begun) == 0 {
		t.Error("nothing has moved in more than a minute")
	}
}

func TestSomebodyElsesWishIsNoFailure(t *testing.T) {
	w := aTown(t, nil, 4, 0, 2)
	w.pass(5 * time.Second)
	w.turn()
	if len(w.begun) != 1 {
		t.Fatal(w.begun)
	}
	change(w, w.begun[0].vip, &v1alpha1.VIP{}, func(vip *v1alpha1.VIP) {
		vip.Spec.Move = &v1alpha1.MoveRequest{To: "n3", Reason: v1alpha1.ReasonUser, RequestedAt: metav1.NewTime(w.clock.Now())}
	})
	w.pass(20 * time.Second)
	w.wants("VIPs", w.counts(), "2 2 2")
}

func TestModesAndRequests(t *testing.T) {
	request := func(w *town) {
		change(w, "main", &v1alpha1.VIPPool{}, func(pool *v1alpha1.VIPPool) {
			pool.Annotations = map[string]string{placeholder.AnnotationRebalanceNow: policy.Request(w.clock.Now())}
		})
	}
	handled := func(w *town) bool {
		var pool v1alpha1.VIPPool
		w.get("main", &pool)
		return pool.Status.Rebalance != nil && pool.Status.Rebalance.HandledRequest == pool.Annotations[placeholder.AnnotationRebalanceNow]
	}
	t.Run("Manual waits for --now, which is served once", func(t *testing.T) {
		w := aTown(t, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceManual}, 6, 0)
		w.pass(10 * time.Second)
		w.wants("moves", len(w.begun), 0)
		w.wants("condition", w.balanced(), `False Manual VIPs are uneven. the pool's mode is Manual: "kubectl evenkeel rebalance --now" evens out`)
		request(w)
		w.pass(20 * time.Second)
		w.wants("VIPs", w.counts(), "3 3")
		w.wants("handled", handled(w), true)
		for range 2 {
			w.vip("main", "n1")
		}
		w.pass(20 * time.Second)
		w.wants("VIPs later", w.counts(), "5 3")
	})
	t.Run("Off stays off", func(t *testing.T) {
		w := aTown(t, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceOff}, 6, 0)
		request(w)
		w.pass(10 * time.Second)
		w.wants("moves", len(w.begun), 0)
		w.wants("condition", w.balanced(), "False Off VIPs are uneven. the pool's mode is Off")
	})
	t.Run("Window opens", func(t *testing.T) {
		w := aTown(t, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed, Windows: []v1alpha1.RebalanceWindow{
			{Schedule: "30 12 * * *", Duration: metav1.Duration{Duration: time.Minute}}}}, 6, 0)
		w.pass(20 * time.Minute)
		w.wants("moves", len(w.begun), 0)
		w.wants("condition", w.balanced(), "False OutsideWindow VIPs are uneven. no window is open (until 12:30:00 UTC)")
		w.pass(11 * time.Minute)
		w.wants("VIPs", w.counts(), "3 3")
		if at := w.begun[0].at; at.Format("15:04") != "12:30" {
			t.Errorf("it began at %s", at)
		}
	})
	t.Run("a request that can't be read is told once and asks for nothing", func(t *testing.T) {
		w := aTown(t, &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceManual}, 6, 0)
		change(w, "main", &v1alpha1.VIPPool{}, func(pool *v1alpha1.VIPPool) {
			pool.Annotations = map[string]string{placeholder.AnnotationRebalanceNow: "yes"}
		})
		w.pass(20 * time.Second)
		w.wants("moves", len(w.begun), 0)
		w.wants("events", len(w.recorder.Events), 1)
		if event := <-w.recorder.Events; !strings.Contains(event, `Warning InvalidRequest annotation evenkeel.io/rebalance-now: "yes" is no time`) {
			t.Error(event)
		}
	})
}

func TestAServiceThatSaysNeverIsLeftAlone(t *testing.T) {
	w := aTown(t, nil, 2, 0)
	var vips v1alpha1.VIPList
	w.list(&vips)
	for i, text := range []string{placeholder.RebalanceNever, "often"} {
		change(w, vips.Items[i].Name, &corev1.Service{}, func(s *corev1.Service) {
			s.Annotations = map[string]string{placeholder.AnnotationRebalance: text}
		})
	}
	w.pass(20 * time.Second)
	w.wants("VIPs", w.counts(), "1 1")
	w.wants("who moved", w.begun[0].vip, vips.Items[1].Name)
	if event := <-w.recorder.Events; !strings.Contains(event, `Warning InvalidRequest annotation evenkeel.io/rebalance: "often" is not "never"`) {
		t.Error(event)
	}
}

func TestBusyVIPsStayWhereOthersCanMove(t *testing.T) {
	w := aTown(t, nil, 2, 0)
	var vips v1alpha1.VIPList
	w.list(&vips)
	w.create(&v1alpha1.VIPNodeTraffic{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: v1alpha1.VIPNodeTrafficStatus{
		MeasuredAt: metav1.NewTime(w.clock.Now()), VIPs: []v1alpha1.VIPTraffic{{Name: vips.Items[0].Name, BytesPerSecond: 9_000_000}},
	}})
	w.pass(20 * time.Second)
	w.wants("VIPs", w.counts(), "1 1")
	w.wants("who moved", w.begun[0].vip, vips.Items[1].Name)
}

func TestANodeThatIsBackSettlesAnewAlsoWhereTheAPIDoesNotTell(t *testing.T) {
	w := aTown(t, nil, 2, 2)
	cordon := func(yes bool) {
		change(w, "n2", &corev1.Node{}, func(n *corev1.Node) { n.Spec.Unschedulable = yes })
	}
	cordon(true)
	w.pass(10 * time.Second)
	for range 4 {
		w.vip("main", "n1")
	}
	w.pass(10 * time.Second)
	cordon(false)
	w.pass(100 * time.Second)
	w.wants("moves", len(w.begun), 0)
	w.pass(30 * time.Second)
	w.wants("VIPs", w.counts(), "4 4")
}

func TestTwoThatBothBelieveToLeadMoveNothingTwice(t *testing.T) {
	w := aTown(t, nil, 6, 0)
	w.pass(5 * time.Second)
	w.watch()
	_, first, err := w.r.survey(t.Context(), w.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	var pools v1alpha1.VIPPoolList // both have read the pool as it was
	w.list(&pools)
	stale := pools.DeepCopy()
	if err := w.r.ask(t.Context(), pools.Items, first.Begin[0], w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	other := first.Moves[1]
	if err := w.r.ask(t.Context(), stale.Items, other, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.wants("moves", len(w.begun), 1)
}

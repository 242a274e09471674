package survey

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// anyTown draws nodes that came at some time, and two pools' VIPs on them, some of which have just been moved or never are.
func anyTown(t *rapid.T) *town {
	w := &town{now: noon, never: map[string]bool{}, traffic: map[string]int64{}}
	for _, name := range []string{"a", "b"} {
		w.pool(name, &v1alpha1.RebalancePolicy{
			MovesAtOnce:  number(rapid.Int32Range(1, 3).Draw(t, "at once")),
			MovesPerHour: number(rapid.Int32Range(1, 20).Draw(t, "per hour")),
			Cooldown:     duration(rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "cooldown")),
			NodeSettle:   duration(rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "settle")),
		})
	}
	for range rapid.IntRange(1, 6).Draw(t, "nodes") {
		w.join(rapid.SampledFrom([]time.Duration{0, 30 * time.Second, 24 * time.Hour}).Draw(t, "there for"))
	}
	for range rapid.IntRange(0, 25).Draw(t, "vips") {
		pool := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "pool")
		vip := w.vip(pool, w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")].Name)
		if rapid.IntRange(0, 3).Draw(t, "moved") == 0 {
			vip.Status.LastMove = &v1alpha1.VIPMove{Reason: v1alpha1.ReasonImbalance, Time: metav1.NewTime(noon.Add(-time.Duration(rapid.IntRange(0, 120).Draw(t, "minutes ago")) * time.Minute))}
		}
	}
	return w
}

func TestWhatBeginsKeepsToThePolicyAndEndsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyTown(t)
		for i := range w.vips {
			if rapid.IntRange(0, 9).Draw(t, "never") == 0 {
				w.never[w.vips[i].Name] = true
			}
		}
		policies := map[string]policy.Policy{}
		for _, pool := range w.pools {
			policies[pool.Name], _ = policy.Of(pool.Spec.Rebalance, policy.Default(), nil)
		}
		begun := map[string][]time.Time{}
		moved := map[string]time.Time{}
		for _, vip := range w.vips {
			moved[vip.Name] = policy.MovedAt(vip)
		}
		for step := 0; ; step++ {
			if step > 500 {
				t.Fatal("it never ends")
			}
			out := w.look()
			count := map[string]int{}
			for _, move := range out.Begin {
				pool := w.find(move.VIP).Spec.Pool
				p := policies[pool]
				count[pool]++
				begun[pool] = append(begun[pool], w.now)
				if at := moved[move.VIP]; !at.IsZero() && w.now.Sub(at) < p.Cooldown || w.never[move.VIP] {
					t.Fatalf("%s was to stay", move.VIP)
				}
				for i := range w.nodes {
					if w.nodes[i].Name == move.To && w.now.Sub(w.nodes[i].CreationTimestamp.Time) < p.Settle {
						t.Fatalf("%s hasn't settled", move.To)
					}
				}
				w.begin(move)
				moved[move.VIP] = w.now
			}
			for pool, n := range count {
				inHour := 0
				for _, at := range begun[pool] {
					if w.now.Sub(at) < time.Hour {
						inHour++
					}
				}
				if n > policies[pool].AtOnce || inHour > policies[pool].PerHour {
					t.Fatalf("pool %s: %d at once, %d within the hour", pool, n, inHour)
				}
			}
			w.now = w.now.Add(time.Second)
			for _, move := range out.Begin {
				w.end(move)
			}
			if len(out.Begin) > 0 {
				continue
			}
			if out.Again.IsZero() {
				break
			}
			w.now = later(w.now, out.Again.Add(time.Millisecond))
		}
		if out := w.look(); len(w.never) == 0 && out.Before.Spread() > 1 {
			t.Fatalf("it ends with %+v", out.Before)
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestASurveyIsTheSameWhateverTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyTown(t)
		first := w.look()
		again := w.look()
		if len(first.Held) != len(again.Held) {
			t.Fatalf("%v and %v", first.Held, again.Held)
		}
		for i := range first.Held {
			if first.Held[i] != again.Held[i] {
				t.Fatalf("%v and %v", first.Held, again.Held)
			}
		}
	})
}

package load

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"pgregory.net/rapid"
)

func TestCriteriaAreChecked(t *testing.T) {
	tests := []struct {
		name string
		list []Criterion
		says string
	}{
		{name: "the default", list: DefaultCriteria()},
		{name: "all", list: criteria},
		{name: "none", says: "criteria: Required value"},
		{name: "one that nobody knows", list: []Criterion{Count, "Memory"}, says: `criteria[1]: Unsupported value: "Memory"`},
		{name: "one twice", list: []Criterion{Count, Traffic, Count}, says: `criteria[2]: Duplicate value: "Count"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := ValidateCriteria(tt.list, field.NewPath("criteria")).ToAggregate()
			if (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func TestMeasures(t *testing.T) {
	const mbit = megabit
	tests := []struct {
		name string
		by   []Criterion
		a, b Figures
		want int
	}{
		{name: "fewer VIPs", by: []Criterion{Count}, a: Figures{Load: 3}, b: Figures{Load: 4}, want: -1},
		{name: "a capacity of 0 is one of 1", by: []Criterion{Count}, a: Figures{Load: 3}, b: Figures{Load: 3, Capacity: 1}, want: 0},
		{name: "twice the VIPs on twice the capacity", by: []Criterion{Count}, a: Figures{Load: 6, Capacity: 2}, b: Figures{Load: 3, Capacity: 1}, want: 0},
		{name: "a third is less than 334 thousandths", by: []Criterion{Count}, a: Figures{Load: 1, Capacity: 3}, b: Figures{Load: 334, Capacity: 1000}, want: -1},
		{name: "traffic decides where the count is equal", by: DefaultCriteria(), a: Figures{Load: 3, Traffic: 9 * mbit}, b: Figures{Load: 3, Traffic: 3 * mbit}, want: 1},
		{name: "the count decides before traffic", by: DefaultCriteria(), a: Figures{Load: 3, Traffic: 9 * mbit}, b: Figures{Load: 4, Traffic: 3 * mbit}, want: -1},
		{name: "unless traffic comes first", by: []Criterion{Traffic}, a: Figures{Load: 3, Traffic: 9 * mbit}, b: Figures{Load: 4, Traffic: 3 * mbit}, want: 1},
		{name: "less than a megabit is none", by: []Criterion{Traffic}, a: Figures{Traffic: mbit - 1}, b: Figures{}, want: 0},
		{name: "and then the count decides, named or not", by: []Criterion{Traffic}, a: Figures{Load: 1, Traffic: mbit - 1}, b: Figures{}, want: 1},
		{name: "1 % more traffic is noise", by: []Criterion{Traffic}, a: Figures{Traffic: 1000 * mbit}, b: Figures{Traffic: 1010 * mbit}, want: 0},
		{name: "6 % more is not", by: []Criterion{Traffic}, a: Figures{Traffic: 1000 * mbit}, b: Figures{Traffic: 1060 * mbit}, want: -1},
		{name: "twice the traffic on twice the capacity", by: []Criterion{Traffic}, a: Figures{Traffic: 2000 * mbit, Capacity: 20000}, b: Figures{Traffic: 1000 * mbit, Capacity: 10000}, want: 0},
		{name: "a busier NIC", by: []Criterion{NICUtilization}, a: Figures{NICPermille: 300}, b: Figures{NICPermille: 360}, want: -1},
		{name: "a little busier processor", by: []Criterion{CPU}, a: Figures{CPUPermille: 300}, b: Figures{CPUPermille: 340}, want: 0},
		{name: "a busier processor", by: []Criterion{CPU}, a: Figures{CPUPermille: 900}, b: Figures{CPUPermille: 340}, want: 1},
		{name: "siblings come before everything", by: DefaultCriteria(), a: Figures{Siblings: 1}, b: Figures{Load: 9, Traffic: 9 * mbit}, want: 1},
		{name: "equal counts go by shared standbys", by: DefaultCriteria(), a: Figures{Load: 3, Shared: 2}, b: Figures{Load: 3, Shared: 1, Traffic: 9 * mbit}, want: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := MeasureOf(tt.by)
			if got := m.Compare(tt.a, tt.b); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
			if got := m.Compare(tt.b, tt.a); got != -tt.want {
				t.Errorf("the other way round: got %d, want %d", got, -tt.want)
			}
		})
	}
}

func TestWhatIsAboutLossesGoesByWhatCanBeForetold(t *testing.T) {
	if got := MeasureOf([]Criterion{CPU, Traffic, NICUtilization}).Additive(); !slices.Equal(got, Measure{Traffic, Count}) {
		t.Errorf("got %v", got)
	}
	if MeasureOf([]Criterion{Count}).Measured() || !MeasureOf(DefaultCriteria()).Measured() {
		t.Error("the default needs figures, and Count alone doesn't")
	}
}

// someFigures draws figures up to the extremes: a million VIPs of weight 1000, the largest capacity, what no NIC can carry.
func someFigures() *rapid.Generator[Figures] {
	return rapid.Custom(func(t *rapid.T) Figures {
		number := func(most int64, name string) int64 {
			return rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, min(most, 3000)), rapid.Int64Range(most/2, most)).Draw(t, name)
		}
		return Figures{
			Siblings: rapid.Int64Range(0, 1).Draw(t, "siblings"),
			Load:     number(1e9, "load"), Capacity: max(1, number(1e6, "capacity")), Shared: number(1e9, "shared"),
			Traffic: number(1<<62, "traffic"), NICPermille: number(1000, "nic"), CPUPermille: number(1000, "cpu"),
		}
	})
}

func someMeasure(t *rapid.T) Measure {
	return MeasureOf(rapid.Permutation(criteria).Draw(t, "criteria")[:rapid.IntRange(1, len(criteria)).Draw(t, "many")])
}

func TestPropertyEveryMeasureIsATotalPreorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := someMeasure(t)
		a, b, c := someFigures().Draw(t, "a"), someFigures().Draw(t, "b"), someFigures().Draw(t, "c")
		if m.Compare(a, a) != 0 || m.Compare(a, b) != -m.Compare(b, a) {
			t.Fatal("not the same both ways")
		}
		if m.Compare(a, b) <= 0 && m.Compare(b, c) <= 0 && m.Compare(a, c) > 0 {
			t.Fatalf("%v: not transitive: %+v, %+v, %+v", m, a, b, c)
		}
		more := a.With(1, rapid.Int64Range(0, 1<<40).Draw(t, "more"))
		if m.Compare(a, more) > 0 {
			t.Fatalf("%v: %+v counts more than %+v", m, a, more)
		}
	})
}

func TestPropertySharesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := someFigures().Draw(t, "a"), someFigures().Draw(t, "b")
		a.Siblings, b.Siblings, a.Shared, b.Shared = 0, 0, 0, 0
		want := big.NewRat(a.Load, a.Capacity).Cmp(big.NewRat(b.Load, b.Capacity))
		if got := (Measure{Count}).Compare(a, b); got != want {
			t.Fatalf("%d/%d against %d/%d: got %d, want %d", a.Load, a.Capacity, b.Load, b.Capacity, got, want)
		}
	})
}

func TestPropertyRanksAgreeWithCompare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := someMeasure(t)
		nodes := rapid.SliceOfN(someFigures(), 0, 12).Draw(t, "nodes")
		ranks := m.Ranks(nodes)
		for i := range nodes {
			for j := range nodes {
				if got, want := sign(ranks[i]-ranks[j]), m.Compare(nodes[i], nodes[j]); got != want {
					t.Fatalf("ranks %d and %d of nodes that compare as %d", ranks[i], ranks[j], want)
				}
			}
		}
		if len(nodes) > 0 && (slices.Min(ranks) != 0 || slices.Max(ranks) >= int64(len(nodes))) {
			t.Fatalf("ranks %v", ranks)
		}
	})
}

func sign(n int64) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// create places VIPs one after the other on the node that is least loaded with each; ties go to a node that is drawn.
func create(t *rapid.T, m Measure, nodes []Figures, weights []int64) {
	for _, w := range weights {
		with := make([]Figures, len(nodes))
		for i, n := range nodes {
			with[i] = n.With(w, 0)
		}
		var best []int
		for i, rank := range m.Ranks(with) {
			if rank == 0 {
				best = append(best, i)
			}
		}
		i := rapid.SampledFrom(best).Draw(t, "winner")
		nodes[i] = with[i]
	}
}

// Promise 1: after creations alone no node is ahead of another by more than the largest weight; with capacities, by what that weight is
// on the other.
func TestPropertyCreationsStayEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		equal := rapid.Bool().Draw(t, "equal capacities")
		nodes := make([]Figures, rapid.IntRange(1, 10).Draw(t, "nodes"))
		for i := range nodes {
			nodes[i].Capacity = 1
			if !equal {
				nodes[i].Capacity = rapid.SampledFrom([]int64{1, 2, 3, 10, 1000, 1e6}).Draw(t, "capacity")
			}
		}
		heaviest := rapid.SampledFrom([]int64{1, 10, 1000}).Draw(t, "heaviest")
		weights := rapid.SliceOfN(rapid.Int64Range(1, heaviest), 1, 80).Draw(t, "weights")
		create(t, MeasureOf(DefaultCriteria()), nodes, weights)
		largest := slices.Max(weights)
		for _, a := range nodes {
			for _, b := range nodes {
				if a.Load*b.Capacity > (b.Load+largest)*a.Capacity {
					t.Fatalf("%d of %d beside %d of %d, with weights up to %d", a.Load, a.Capacity, b.Load, b.Capacity, largest)
				}
			}
		}
	})
}

func TestPropertyCapacitiesMakeShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []Figures{{Capacity: 1}, {Capacity: 1}, {Capacity: 2}}
		vips := rapid.IntRange(0, 200).Draw(t, "vips")
		create(t, MeasureOf(DefaultCriteria()), nodes, slices.Repeat([]int64{1}, vips))
		for i, n := range nodes {
			if off := 4*n.Load - int64(vips)*n.Capacity; off > 4 || off < -4 {
				t.Fatalf("node %d has %d of %d VIPs", i, n.Load, vips)
			}
		}
	})
}

func BenchmarkRanks(b *testing.B) {
	nodes := make([]Figures, 1000)
	for i := range nodes {
		nodes[i] = Figures{Load: int64(i % 7), Traffic: int64(i) * 1e6}
	}
	for _, by := range [][]Criterion{{Count}, DefaultCriteria()} {
		b.Run(fmt.Sprint(by), func(b *testing.B) {
			m := MeasureOf(by)
			for b.Loop() {
				m.Ranks(nodes)
			}
		})
	}
}

package policy

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestOf(t *testing.T) {
	n := func(n int32) *int32 { return &n }
	d := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	good := v1alpha1.RebalanceWindow{Schedule: "0 3 * * *", TimeZone: "Asia/Shanghai", Duration: metav1.Duration{Duration: time.Hour}}
	tests := []struct {
		name   string
		spec   *v1alpha1.RebalancePolicy
		mode   v1alpha1.RebalanceMode
		fields []string // that are wrong
	}{
		{"no policy", nil, v1alpha1.RebalanceAuto, nil},
		{"an empty policy", &v1alpha1.RebalancePolicy{}, v1alpha1.RebalanceAuto, nil},
		{"windows", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed, Windows: []v1alpha1.RebalanceWindow{good}}, v1alpha1.RebalanceWindowed, nil},
		{"windows that aren't used", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceAuto, Windows: []v1alpha1.RebalanceWindow{good}}, v1alpha1.RebalanceAuto, nil},
		{"no window", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed}, v1alpha1.RebalanceManual, []string{"spec.rebalance.windows"}},
		{"one bad window among good ones", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceWindowed, Windows: []v1alpha1.RebalanceWindow{good, {Schedule: "0 3 31 2 *", TimeZone: "Asia/Shangai"}}},
			v1alpha1.RebalanceManual, []string{"spec.rebalance.windows[1].duration", "spec.rebalance.windows[1].timeZone", "spec.rebalance.windows[1].schedule"}},
		{"a mistake in what isn't used", &v1alpha1.RebalancePolicy{Windows: []v1alpha1.RebalanceWindow{{Schedule: "x", Duration: good.Duration}}}, v1alpha1.RebalanceManual, []string{"spec.rebalance.windows[0].schedule"}},
		{"a mistake where nothing is moved anyway", &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceOff, MovesAtOnce: n(0)}, v1alpha1.RebalanceOff, []string{"spec.rebalance.movesAtOnce"}},
		{"a mode that doesn't exist", &v1alpha1.RebalancePolicy{Mode: "Sometimes"}, v1alpha1.RebalanceManual, []string{"spec.rebalance.mode"}},
		{"numbers and durations out of bounds", &v1alpha1.RebalancePolicy{ImbalanceThreshold: n(0), MovesAtOnce: n(11), MovesPerHour: n(601), MaxTrafficShare: n(101), Cooldown: d(25 * time.Hour), NodeSettle: d(-time.Second)},
			v1alpha1.RebalanceManual, []string{"spec.rebalance.imbalanceThreshold", "spec.rebalance.movesAtOnce", "spec.rebalance.movesPerHour", "spec.rebalance.maxTrafficShare", "spec.rebalance.cooldown", "spec.rebalance.nodeSettle"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, errs := Of(tt.spec, Default(), field.NewPath("spec", "rebalance"))
			var fields []string
			for _, err := range errs {
				fields = append(fields, err.Field)
			}
			if p.Mode != tt.mode || !slices.Equal(fields, tt.fields) {
				t.Errorf("mode %s, wrong are %v; want %s, %v", p.Mode, errs, tt.mode, tt.fields)
			}
			if p.PerHour < 1 || p.AtOnce < 1 || p.TrafficShare < 1 || p.Threshold < 1 || p.Cooldown < 0 || p.Settle < 0 {
				t.Errorf("a wrong value was taken: %+v", p)
			}
		})
	}
}

func TestOfOverridesDefaults(t *testing.T) {
	defaults := with(func(p *Policy) { p.Mode, p.PerHour, p.Cooldown = v1alpha1.RebalanceManual, 7, time.Hour })
	five := int32(5)
	p, errs := Of(&v1alpha1.RebalancePolicy{MovesAtOnce: &five, Cooldown: &metav1.Duration{}}, defaults, nil)
	if len(errs) > 0 || p.Mode != v1alpha1.RebalanceManual || p.PerHour != 7 || p.AtOnce != 5 || p.Cooldown != 0 || p.Settle != 2*time.Minute {
		t.Errorf("%+v %v", p, errs)
	}
}

func TestUneven(t *testing.T) {
	tests := []struct {
		name                                  string
		threshold, fullest, emptiest, largest int64
		want                                  bool
	}{
		{"one apart is what is promised", 1, 3, 2, 1, false},
		{"two apart", 1, 4, 2, 1, true},
		{"no further apart than the largest weight", 1, 12, 2, 10, false},
		{"further apart than the largest weight", 1, 13, 2, 10, true},
		{"within a threshold above the largest weight", 5, 7, 2, 1, false},
		{"beyond it", 5, 8, 2, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Policy{Threshold: tt.threshold}).Uneven(tt.fullest, tt.emptiest, tt.largest); got != tt.want {
				t.Error(got)
			}
		})
	}
}

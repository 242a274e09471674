package policy

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Policy is a pool's rebalance policy with nothing left open. It is a value: nothing in it changes.
type Policy struct {
	Mode v1alpha1.RebalanceMode
	// Threshold is by how much the loads of two nodes may differ. See Uneven.
	Threshold int64
	// AtOnce is how many moves may be under way, PerHour how many may begin in any 60 minutes.
	AtOnce, PerHour int
	// Cooldown is how long a VIP that was moved to even out stays, Settle how long a node must have been able before it is moved to.
	Cooldown, Settle time.Duration
	// TrafficShare in percent: in mode Auto a VIP that carries more than this of all VIPs' traffic stays. 100: none stays.
	TrafficShare int64
	// Windows of mode Window.
	Windows []Window
}

// Default is what a pool's policy is where neither the pool nor a flag says anything.
func Default() Policy {
	return Policy{
		Mode:      v1alpha1.RebalanceAuto,
		Threshold: 1, // the promise itself: the numbers of VIPs differ by at most one
		AtOnce:    1, // each move is seen to have worked before the next one begins
		PerHour:   60,
		Cooldown:  10 * time.Minute,
		Settle:    2 * time.Minute, // a node that flaps gets nothing, and one that is back has its share within 5 minutes
		// At most one VIP can carry more than half of everything, so that the others still even out.
		TrafficShare: 50,
	}
}

// Of reads a pool's policy; what it leaves open is taken from defaults. Where something in it is wrong, errs names the fields below
// path, what is wrong counts as absent, and the mode is Manual (or Off, where it says so): nobody asked for what we would guess.
func Of(spec *v1alpha1.RebalancePolicy, defaults Policy, path *field.Path) (p Policy, errs field.ErrorList) {
	p = defaults
	if spec == nil {
		return p, nil
	}
	if spec.Mode != "" {
		p.Mode = spec.Mode
	}
	number(spec.ImbalanceThreshold, 1, 100_000, path.Child("imbalanceThreshold"), &errs, func(n int32) { p.Threshold = int64(n) })
	number(spec.MovesAtOnce, 1, maxAtOnce, path.Child("movesAtOnce"), &errs, func(n int32) { p.AtOnce = int(n) })
	number(spec.MovesPerHour, 1, maxPerHour, path.Child("movesPerHour"), &errs, func(n int32) { p.PerHour = int(n) })
	number(spec.MaxTrafficShare, 1, 100, path.Child("maxTrafficShare"), &errs, func(n int32) { p.TrafficShare = int64(n) })
	duration(spec.Cooldown, 0, maxCooldown, path.Child("cooldown"), &errs, &p.Cooldown)
	duration(spec.NodeSettle, 0, maxSettle, path.Child("nodeSettle"), &errs, &p.Settle)
	for i := range spec.Windows {
		window, wrong := windowOf(&spec.Windows[i], path.Child("windows").Index(i))
		errs = append(errs, wrong...)
		if len(wrong) == 0 {
			p.Windows = append(p.Windows, window)
		}
	}
	switch p.Mode {
	case v1alpha1.RebalanceAuto, v1alpha1.RebalanceManual, v1alpha1.RebalanceOff:
	case v1alpha1.RebalanceWindowed:
		if len(spec.Windows) == 0 {
			errs = append(errs, field.Required(path.Child("windows"), "mode Window needs at least one window"))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("mode"), p.Mode, modes))
	}
	if len(errs) > 0 && p.Mode != v1alpha1.RebalanceOff {
		p.Mode = v1alpha1.RebalanceManual
	}
	return p, errs
}

var modes = []v1alpha1.RebalanceMode{v1alpha1.RebalanceAuto, v1alpha1.RebalanceWindowed, v1alpha1.RebalanceManual, v1alpha1.RebalanceOff}

// The bounds are those of the CRD, which pools written before it had them may break.
const (
	maxAtOnce   = 10
	maxPerHour  = 600 // as many as a pool's status records
	maxCooldown = 24 * time.Hour
	maxSettle   = time.Hour
)

func number(n *int32, least, most int32, path *field.Path, errs *field.ErrorList, set func(int32)) {
	switch {
	case n == nil:
	case *n < least || *n > most:
		*errs = append(*errs, field.Invalid(path, *n, between(least, most)))
	default:
		set(*n)
	}
}

func duration(d *metav1.Duration, least, most time.Duration, path *field.Path, errs *field.ErrorList, to *time.Duration) {
	switch {
	case d == nil:
	case d.Duration < least || d.Duration > most:
		*errs = append(*errs, field.Invalid(path, d.Duration.String(), between(least, most)))
	default:
		*to = d.Duration
	}
}

// Uneven says whether loads are so far apart that VIPs are to be moved. fullest and emptiest are weighted numbers of VIPs, largest
// is the largest weight: nodes whose loads differ by less can't be evened out by moving VIPs of that weight.
func (p Policy) Uneven(fullest, emptiest, largest int64) bool {
	return fullest-emptiest > max(p.Threshold, largest)
}

package policy

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// AddFlags adds the flags of what pools leave open; p holds the defaults and receives the values.
func (p *Policy) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar((*string)(&p.Mode), "rebalance-mode", string(p.Mode), "When VIPs are moved to even out the load, where their pool doesn't say: Auto, Manual or Off.")
	fs.IntVar(&p.PerHour, "rebalance-moves-per-hour", p.PerHour, "Moves of a pool's VIPs that begin within 60 minutes, where the pool doesn't say.")
	fs.DurationVar(&p.Cooldown, "rebalance-cooldown", p.Cooldown, "How long a VIP that was moved to even out stays, where its pool doesn't say.")
	fs.DurationVar(&p.Settle, "rebalance-node-settle", p.Settle, "How long a node must have been able to announce before VIPs are moved to it, where their pool doesn't say.")
}

// Validate says what is wrong with the flags' values.
func (p Policy) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	// Mode Window needs windows, which only pools have.
	check(p.Mode == v1alpha1.RebalanceAuto || p.Mode == v1alpha1.RebalanceManual || p.Mode == v1alpha1.RebalanceOff, "--rebalance-mode: %q is not Auto, Manual or Off", p.Mode)
	check(p.PerHour >= 1 && p.PerHour <= maxPerHour, "--rebalance-moves-per-hour: %d is not between 1 and %d", p.PerHour, maxPerHour)
	check(p.Cooldown >= 0 && p.Cooldown <= maxCooldown, "--rebalance-cooldown: %s is not %s", p.Cooldown, within(maxCooldown))
	check(p.Settle >= 0 && p.Settle <= maxSettle, "--rebalance-node-settle: %s is not %s", p.Settle, within(maxSettle))
	return errors.Join(errs...)
}

func within(most time.Duration) string { return fmt.Sprintf("between 0s and %s", most) }

package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestFlags(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"none":                {nil, ""},
		"all":                 {[]string{"--rebalance-mode=Manual", "--rebalance-moves-per-hour=600", "--rebalance-cooldown=0", "--rebalance-node-settle=1h"}, ""},
		"off":                 {[]string{"--rebalance-mode=Off"}, ""},
		"windows":             {[]string{"--rebalance-mode=Window"}, "--rebalance-mode"},
		"no moves":            {[]string{"--rebalance-moves-per-hour=0"}, "--rebalance-moves-per-hour"},
		"a long cooldown":     {[]string{"--rebalance-cooldown=25h"}, "--rebalance-cooldown"},
		"a negative settle":   {[]string{"--rebalance-node-settle=-1s"}, "--rebalance-node-settle"},
		"two wrong at a time": {[]string{"--rebalance-mode=off", "--rebalance-node-settle=2h"}, "--rebalance-node-settle"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := Default()
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			p.AddFlags(fs)
			if err := fs.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			err := p.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	p := Default()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	p.AddFlags(fs)
	if err := fs.Parse([]string{"--rebalance-mode=Manual", "--rebalance-cooldown=3m"}); err != nil || p.Mode != v1alpha1.RebalanceManual || p.Cooldown != 3*time.Minute {
		t.Errorf("%v %+v", err, p)
	}
}

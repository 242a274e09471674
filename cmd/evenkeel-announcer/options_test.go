package main

import (
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*options)
		want   string // part of the error; empty: none
	}{
		{"the defaults and a node's name are enough", func(*options) {}, ""},
		{"a node's name is needed", func(o *options) { o.nodeName = "" }, "--node-name"},
		{"a bad regular expression is refused", func(o *options) { o.interfaces = "eth[" }, "--interfaces"},
		{"an unknown probe is refused with the known ones", func(o *options) { o.conflictProbe = "slow" }, `"quick", "rfc5227" or "off"`},
		{"the probe can be off", func(o *options) { o.conflictProbe = "off" }, ""},
		{"a lifetime that the kernel can't count is refused", func(o *options) { o.lifetime = time.Second }, "--address-lifetime"},
		{"a handover shorter than a lifetime is refused", func(o *options) { o.handoverLifetime = 5 * time.Second }, "--handover-lifetime"},
		{"a rate of nothing is refused", func(o *options) { o.rate = 0 }, "--announce-rate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := defaultOptions()
			o.nodeName = "node-1"
			tt.change(o)
			err := o.validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("validate() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestABareConflictProbeMeansQuick(t *testing.T) {
	cmd := newCommand()
	if err := cmd.ParseFlags([]string{"--conflict-probe", "--node-name=node-1"}); err != nil {
		t.Fatal(err)
	}
	if got := cmd.Flags().Lookup("conflict-probe").Value.String(); got != "quick" {
		t.Errorf("--conflict-probe = %q, want quick", got)
	}
}

package vipload

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"

	"evenkeel.io/evenkeel/api/load"
)

// decode reads a configuration with the given arguments as the scheduler does.
func decode(args string) (*config.KubeSchedulerConfiguration, error) {
	obj, _, err := scheme.Codecs.UniversalDecoder().Decode([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: evenkeel-scheduler
  plugins:
    multiPoint:
      enabled: [{name: VIPLoad}]
  pluginConfig:
  - name: VIPLoad
    args: `+args+"\n"), nil, nil)
	if err != nil {
		return nil, err
	}
	return obj.(*config.KubeSchedulerConfiguration), nil
}

func TestArgs(t *testing.T) {
	tests := []struct {
		name    string
		args    string
		want    bool
		by      []load.Criterion // the default one by default
		wantErr string
	}{
		{name: "empty arguments are defaulted", args: "{}", want: false},
		{name: "a value is taken", args: "{ignoreExcludeLabel: true}", want: true},
		{name: "criteria are taken in their order", args: "{criteria: [CPU, Count]}", by: []load.Criterion{load.CPU, load.Count}},
		{name: "no criterion is refused", args: "{criteria: []}", wantErr: "criteria: Required value"},
		{name: "a criterion that nobody knows is refused", args: "{criteria: [Count, count]}", wantErr: `criteria[1]: Unsupported value: "count"`},
		{name: "a criterion that comes twice is refused", args: "{criteria: [Count, Traffic, Count]}", wantErr: `criteria[2]: Duplicate value: "Count"`},
		{name: "criteria of a wrong type are refused", args: "{criteria: Count}", wantErr: "criteria"},
		{name: "a typing error is refused with its path", args: "{ignoreExcludedLabel: true}", wantErr: `.profiles[0].pluginConfig[0]`},
		{name: "and named", args: "{ignoreExcludedLabel: true}", wantErr: `unknown field "ignoreExcludedLabel"`},
		{name: "a wrong type is refused", args: "{ignoreExcludeLabel: maybe}", wantErr: "ignoreExcludeLabel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := decode(tt.args)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, plugin := range cfg.Profiles[0].PluginConfig {
				if plugin.Name != Name {
					continue
				}
				args, ok := plugin.Args.(*VIPLoadArgs)
				if !ok {
					t.Fatalf("arguments are a %T", plugin.Args)
				}
				if tt.by == nil {
					tt.by = load.DefaultCriteria()
				}
				if !slices.Equal(args.Criteria, tt.by) {
					t.Errorf("criteria are %v, want %v", args.Criteria, tt.by)
				}
				if args.IgnoreExcludeLabel != tt.want {
					t.Errorf("ignoreExcludeLabel is %v, want %v", args.IgnoreExcludeLabel, tt.want)
				}
				return
			}
			t.Error("no arguments")
		})
	}
}

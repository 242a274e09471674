package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

func TestPluginArgs(t *testing.T) {
	read := func(text string) (config map[string]any) {
		if err := yaml.Unmarshal([]byte(text), &config); err != nil {
			t.Fatal(err)
		}
		return config
	}
	config := read("{profiles: [{pluginConfig: [{name: Other, args: {x: 1}}, {name: VIPLoad, args: {a: true, b: 1}}]}]}")
	if err := setPluginArgs(config, map[string]map[string]any{"VIPLoad": {"b": []any{"Traffic"}}}); err != nil {
		t.Fatal(err)
	}
	want := read("{profiles: [{pluginConfig: [{name: Other, args: {x: 1}}, {name: VIPLoad, args: {a: true, b: [Traffic]}}]}]}")
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := setPluginArgs(config, map[string]map[string]any{"VIPload": {}}); err == nil {
		t.Error("a plugin that is nowhere gets arguments")
	}
}

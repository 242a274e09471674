package vipload

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/manifests/scheduler"
)

// loadConfig reads a configuration as the scheduler does.
func loadConfig(t *testing.T, text string) *config.KubeSchedulerConfiguration {
	t.Helper()
	obj, _, err := scheme.Codecs.UniversalDecoder().Decode([]byte(text), nil, nil)
	if err != nil {
		t.Fatalf("%v, in:\n%s", err, text)
	}
	return obj.(*config.KubeSchedulerConfiguration)
}

// argsOf takes our arguments out of a configuration.
func argsOf(t *testing.T, c *config.KubeSchedulerConfiguration) *VIPLoadArgs {
	t.Helper()
	for i, plugin := range c.Profiles[0].PluginConfig {
		if args, ok := plugin.Args.(*VIPLoadArgs); ok {
			c.Profiles[0].PluginConfig = slices.Delete(c.Profiles[0].PluginConfig, i, i+1)
			return args
		}
	}
	t.Fatal("no arguments of VIPLoad")
	return nil
}

// Each example in docs/load.md is a complete configuration: the built-in one with other criteria, which the flag beside it names too.
func TestTheExamplesOfTheDocumentationLoad(t *testing.T) {
	text, err := os.ReadFile("../../docs/load.md")
	if err != nil {
		t.Fatal(err)
	}
	builtIn := loadConfig(t, scheduler.Config)
	if got := argsOf(t, builtIn).Criteria; !slices.Equal(got, load.DefaultCriteria()) {
		t.Errorf("the built-in configuration has criteria %v", got)
	}
	examples := regexp.MustCompile("(?s)`--load-criteria=([A-Za-z,]+)`[^`]*```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	shown := map[load.Criterion]bool{}
	for _, example := range examples {
		c := loadConfig(t, example[2])
		args := argsOf(t, c)
		var names []string
		for _, criterion := range args.Criteria {
			names = append(names, string(criterion))
			shown[criterion] = true
		}
		if flag := strings.Join(names, ","); flag != example[1] {
			t.Errorf("the configuration has criteria %s, the flag beside it %s", flag, example[1])
		}
		if diff := cmp.Diff(builtIn, c); diff != "" {
			t.Errorf("%v: not the built-in configuration (-built-in +example):\n%s", names, diff)
		}
	}
	if blocks := strings.Count(string(text), "```yaml"); blocks != len(examples) {
		t.Errorf("%d of %d examples have their flag beside them", len(examples), blocks)
	}
	for _, criterion := range []load.Criterion{load.Count, load.Traffic, load.NICUtilization, load.CPU} {
		if !shown[criterion] {
			t.Errorf("no example has criterion %s", criterion)
		}
	}
}

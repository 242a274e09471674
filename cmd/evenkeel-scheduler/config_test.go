package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"

	"evenkeel.io/evenkeel/manifests/scheduler"
)

// parse makes the command and parses arguments, without running it.
func parse(t *testing.T, args ...string) *cobra.Command {
	t.Helper()
	cmd := newCommand(t.Context())
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// load reads what --config points at as kube-scheduler will.
func load(t *testing.T, cmd *cobra.Command) *config.KubeSchedulerConfiguration {
	t.Helper()
	cfg, err := options.LoadConfigFromFile(klog.Background(), cmd.Flags().Lookup("config").Value.String())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigure(t *testing.T) {
	own := write(t, "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nclientConnection: {kubeconfig: /from/file, qps: 7}\n")
	type result struct {
		Kubeconfig     string
		QPS            float32
		Lease          string
		Profile        string
		AuthKubeconfig string
	}
	tests := []struct {
		name string
		args []string
		want result
	}{
		{name: "the built-in profile inside a cluster", want: result{QPS: 500, Lease: "evenkeel-system/evenkeel-scheduler", Profile: "evenkeel-scheduler"}},
		{name: "the built-in profile with a kubeconfig", args: []string{"--kubeconfig=/k"},
			want: result{Kubeconfig: "/k", QPS: 500, Lease: "evenkeel-system/evenkeel-scheduler", Profile: "evenkeel-scheduler", AuthKubeconfig: "/k"}},
		{name: "the built-in profile with another rate", args: []string{"--kubeconfig=/k", "--kube-api-qps=20"},
			want: result{Kubeconfig: "/k", QPS: 20, Lease: "evenkeel-system/evenkeel-scheduler", Profile: "evenkeel-scheduler", AuthKubeconfig: "/k"}},
		{name: "a file of one's own", args: []string{"--config=" + own},
			want: result{Kubeconfig: "/from/file", QPS: 7, Lease: "kube-system/kube-scheduler", Profile: "default-scheduler", AuthKubeconfig: "/from/file"}},
		{name: "a kubeconfig beside a file wins", args: []string{"--config=" + own, "--kubeconfig=/k", "--authentication-kubeconfig=/a"},
			want: result{Kubeconfig: "/k", QPS: 7, Lease: "kube-system/kube-scheduler", Profile: "default-scheduler", AuthKubeconfig: "/a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := parse(t, tt.args...)
			c, err := configure(cmd.Flags())
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			cfg := load(t, cmd)
			got := result{
				Kubeconfig:     cfg.ClientConnection.Kubeconfig,
				QPS:            cfg.ClientConnection.QPS,
				Lease:          cfg.LeaderElection.ResourceNamespace + "/" + cfg.LeaderElection.ResourceName,
				Profile:        cfg.Profiles[0].SchedulerName,
				AuthKubeconfig: cmd.Flags().Lookup("authentication-kubeconfig").Value.String(),
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.kubeconfig != got.Kubeconfig {
				t.Errorf("the version is asked for with %q, the scheduler runs with %q", c.kubeconfig, got.Kubeconfig)
			}
		})
	}
}

func TestConfigureRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ config, says string }{
		"a file that isn't there":    {config: "/nowhere.yaml", says: "nowhere.yaml"},
		"a key given twice":          {config: write(t, "kind: A\nkind: B\n"), says: "already"},
		"a connection that's no map": {config: write(t, "clientConnection: 7\n"), says: "clientConnection is no object"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := parse(t, "--config="+tt.config, "--kubeconfig=/k")
			if _, err := configure(cmd.Flags()); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one with %q", err, tt.says)
			}
		})
	}
}

// A file of one's own is handed on untouched, so that kube-scheduler's messages name it.
func TestConfigureLeavesAFileAlone(t *testing.T) {
	path := write(t, scheduler.Config)
	cmd := parse(t, "--config="+path)
	c, err := configure(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if got := cmd.Flags().Lookup("config").Value.String(); got != path {
		t.Errorf("--config is %q, want %q", got, path)
	}
}

func TestShippedConfigIsStrict(t *testing.T) {
	typo := strings.Replace(scheduler.Config, "ignoreExcludeLabel:", "ignoreExcludedLabel:", 1)
	if typo == scheduler.Config {
		t.Fatal("the shipped configuration doesn't name the argument any more")
	}
	_, err := options.LoadConfigFromFile(klog.Background(), write(t, typo))
	if err == nil || !strings.Contains(err.Error(), `.profiles[0].pluginConfig[2]`) || !strings.Contains(err.Error(), `"ignoreExcludedLabel"`) {
		t.Errorf("error %v, want one that names the path and the field", err)
	}
}

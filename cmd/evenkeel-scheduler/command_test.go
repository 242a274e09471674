package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"

	"evenkeel.io/evenkeel/cmd/evenkeel-scheduler/skew"
	"evenkeel.io/evenkeel/plugins/vipload"
)

// cluster serves a version and empty lists of VIPNodes and VIPNodeTraffics, and returns a kubeconfig for it.
func cluster(t *testing.T, minor int) string {
	t.Helper()
	closed := make(chan struct{})
	kinds := map[string]string{"/apis/evenkeel.io/v1alpha1/vipnodes": "VIPNode", "/apis/evenkeel.io/v1alpha1/vipnodetraffics": "VIPNodeTraffic"}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/version":
			fmt.Fprintf(w, `{"major":"1","minor":"%d","gitVersion":"v1.%d.3"}`, minor, minor)
		case kinds[r.URL.Path] == "":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Query().Get("sendInitialEvents") == "true":
			w.WriteHeader(http.StatusBadRequest)
		case r.URL.Query().Get("watch") == "true":
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-closed:
			}
		default:
			fmt.Fprintf(w, `{"apiVersion":"evenkeel.io/v1alpha1","kind":"%sList","metadata":{"resourceVersion":"1"},"items":[]}`, kinds[r.URL.Path])
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(closed) })
	return kubeconfigFor(t, server.URL)
}

func kubeconfigFor(t *testing.T, url string) string {
	t.Helper()
	return write(t, `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "`+url+`"}}]
contexts: [{name: c, context: {cluster: c}}]
current-context: c
`)
}

// The profile that ships, as the scheduler makes it of the file: what scores beside VIPLoad is what placeholders may ask for in so
// many words (see TestOnlyWhoAsksIsPlacedByMoreThanLoad), nothing preempts.
func TestBuiltInProfile(t *testing.T) {
	cmd := parse(t, "--kubeconfig="+cluster(t, 37))
	c, err := configure(cmd.Flags())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	opts := options.NewOptions()
	opts.ConfigFile = cmd.Flags().Lookup("config").Value.String()
	opts.SecureServing.BindPort = 0
	cc, sched, err := app.Setup(t.Context(), opts, app.WithPlugin(vipload.Name, vipload.New))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, profile := range sched.Profiles {
			if err := profile.Close(); err != nil {
				t.Error(err)
			}
		}
	})

	names := func(set config.PluginSet) (list []string) {
		for _, plugin := range set.Enabled {
			list = append(list, plugin.Name)
		}
		return list
	}
	if len(sched.Profiles) != 1 || sched.Profiles["evenkeel-scheduler"] == nil {
		t.Fatalf("profiles %v, want evenkeel-scheduler only", sched.Profiles)
	}
	plugins := sched.Profiles["evenkeel-scheduler"].ListPlugins()
	got := map[string][]string{
		"preEnqueue": names(plugins.PreEnqueue), "queueSort": names(plugins.QueueSort),
		"preFilter": names(plugins.PreFilter), "filter": names(plugins.Filter), "postFilter": names(plugins.PostFilter),
		"preScore": names(plugins.PreScore), "score": names(plugins.Score),
		"reserve": names(plugins.Reserve), "permit": names(plugins.Permit), "preBind": names(plugins.PreBind),
		"bind": names(plugins.Bind), "postBind": names(plugins.PostBind),
	}
	want := map[string][]string{
		"preEnqueue": {"SchedulingGates"}, "queueSort": {"PrioritySort"},
		"preFilter":  {"NodeName", "NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity", "VIPLoad"},
		"filter":     {"NodeName", "NodeUnschedulable", "TaintToleration", "NodeAffinity", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity", "VIPLoad"},
		"postFilter": nil,
		"preScore":   {"NodeAffinity", "PodTopologySpread", "InterPodAffinity", "VIPLoad"},
		"score":      {"NodeAffinity", "PodTopologySpread", "InterPodAffinity", "VIPLoad"},
		"reserve":    nil, "permit": nil, "preBind": nil,
		"bind": {"DefaultBinder"}, "postBind": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plugins (-want +got):\n%s", diff)
	}
	if p := cc.ComponentConfig.Profiles[0].PercentageOfNodesToScore; p == nil || *p != 100 {
		t.Errorf("percentageOfNodesToScore is %v, want 100", p)
	}
	for _, plugin := range cc.ComponentConfig.Profiles[0].PluginConfig {
		if args, ok := plugin.Args.(*config.PodTopologySpreadArgs); ok && (args.DefaultingType != config.ListDefaulting || len(args.DefaultConstraints) > 0) {
			t.Errorf("pods are spread by default constraints: %+v", args)
		}
	}
}

func TestFlagDefaults(t *testing.T) {
	cmd := parse(t)
	for name, want := range map[string]string{
		"secure-port":                            "17473",
		"leader-elect":                           "true",
		"authorization-always-allow-paths":       "[/healthz,/readyz,/livez]",
		"authentication-tolerate-lookup-failure": "true",
	} {
		flag := cmd.Flags().Lookup(name)
		if flag.Value.String() != want || flag.DefValue != want || flag.Changed {
			t.Errorf("--%s is %q, by default %q, want %q", name, flag.Value, flag.DefValue, want)
		}
	}
	if name := cmd.Name(); name != "evenkeel-scheduler" {
		t.Errorf("the command is called %q", name)
	}
}

func TestVersion(t *testing.T) {
	cmd := newCommand(t.Context())
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--version"})
	t.Cleanup(func() { cmd.Flags().Set("version", "false") }) // the flag is one for all commands of a process
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "evenkeel-scheduler ") || !strings.Contains(out.String(), "Kubernetes ") {
		t.Errorf("got %q", out.String())
	}
}

func TestCommandRefusesOtherControlPlanes(t *testing.T) {
	cmd := newCommand(t.Context())
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"--kubeconfig=" + cluster(t, 33)})
	if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), "this scheduler serves 1.34 to 1.37") {
		t.Errorf("error %v, want one that names the range", err)
	}
}

func TestCommandEndsCleanlyWhileTheControlPlaneIsAway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel() // SIGTERM, as soon as it has asked once
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	cmd := newCommand(ctx)
	cmd.SetArgs([]string{"--kubeconfig=" + kubeconfigFor(t, server.URL)})
	if err := cmd.Execute(); err != nil {
		t.Errorf("error %v, want a clean end", err)
	}
}

func TestStopped(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	failure := errors.New("finished without leader elect")
	if err := stopped(ended, failure); err != nil {
		t.Errorf("asked to end: %v", err)
	}
	if err := stopped(t.Context(), failure); !errors.Is(err, failure) {
		t.Errorf("not asked to end: %v", err)
	}
}

func TestApplyPlan(t *testing.T) {
	emulate, gate := skew.Flags{EmulatedVersion: "1.36"}, skew.Flags{FeatureGates: "DRADeviceTaintRules=false"}
	tests := []struct {
		name     string
		args     []string
		plan     skew.Flags
		emulated string
		gates    []string
	}{
		{name: "an older control plane is emulated", plan: emulate, emulated: "[1.36]"},
		{name: "what the user emulates stays", args: []string{"--emulated-version=1.35"}, plan: emulate, emulated: "[1.35]"},
		{name: "the gate is set", plan: gate, emulated: "[]", gates: []string{"DRADeviceTaintRules=false"}},
		{name: "the gate joins the user's", args: []string{"--feature-gates=GenericWorkload=true"}, plan: gate, emulated: "[]", gates: []string{"GenericWorkload=true", "DRADeviceTaintRules=false"}},
		{name: "the gate joins the user's that name the component", args: []string{"--feature-gates=kube:GenericWorkload=true"}, plan: gate, emulated: "[]", gates: []string{"kube:GenericWorkload=true", "kube:DRADeviceTaintRules=false"}},
		{name: "the user's gate stays", args: []string{"--feature-gates=DRADeviceTaintRules=true"}, plan: gate, emulated: "[]", gates: []string{"DRADeviceTaintRules=true"}},
		{name: "an emulated version of the user's decides about gates", args: []string{"--emulated-version=1.35"}, plan: gate, emulated: "[1.35]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The flags of version and gates live in a registry of the process: a fresh one for each case.
			flags := options.NewOptionsWithComponentGlobalsRegistry(compatibility.NewComponentGlobalsRegistry()).Flags.FlagSet("feature gate")
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			if err := applyPlan(flags, tt.plan); err != nil {
				t.Fatal(err)
			}
			if got := flags.Lookup("emulated-version").Value.String(); got != tt.emulated {
				t.Errorf("--emulated-version %q, want %q", got, tt.emulated)
			}
			got := flags.Lookup("feature-gates").Value.String()
			for _, gate := range tt.gates {
				if !strings.Contains(got, gate) {
					t.Errorf("--feature-gates %q, want %q in it", got, gate)
				}
			}
			if len(tt.gates) == 0 && strings.Contains(got, "DRADeviceTaintRules") {
				t.Errorf("--feature-gates %q, want none of ours", got)
			}
		})
	}
}

package main

import (
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"evenkeel.io/evenkeel/manifests/scheduler"
)

// configuration is what the scheduler will run with, as far as it must be known before.
type configuration struct {
	kubeconfig string // path; empty: in the cluster
	master     string // address of the API server, in place of the kubeconfig's
	memory     *os.File
}

// close frees the memory file, if there is one.
func (c *configuration) close() {
	if c.memory != nil {
		c.memory.Close()
	}
}

// rest returns how to reach the API server.
func (c *configuration) rest() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags(c.master, c.kubeconfig)
}

// configure points --config at what the scheduler shall run with: the built-in profile where the flag isn't given, and
// either way with --kubeconfig put in, which kube-scheduler ignores beside --config.
func configure(flags *pflag.FlagSet) (*configuration, error) {
	path := flags.Lookup("config").Value.String()
	source := []byte(scheduler.Config)
	if path != "" {
		var err error
		if source, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("reading the file of --config: %w", err)
		}
	}
	overlaid, kubeconfig, err := overlay(source, overrides(flags, path == ""))
	if err != nil {
		return nil, fmt.Errorf("reading the scheduler's configuration %s: %w", path, err)
	}
	c := &configuration{kubeconfig: kubeconfig, master: flags.Lookup("master").Value.String()}
	if path == "" || string(overlaid) != string(source) {
		if c.memory, err = memoryFile(overlaid); err != nil {
			return nil, err
		}
		// The file descriptor stays open as long as the scheduler may read it.
		if err := flags.Set("config", "/proc/self/fd/"+strconv.Itoa(int(c.memory.Fd()))); err != nil {
			return nil, err
		}
	}
	// Requests to /metrics are authenticated by the same API server, unless said otherwise. Inside a cluster that is the
	// default; outside, kube-scheduler would treat every request as anonymous.
	for _, name := range []string{"authentication-kubeconfig", "authorization-kubeconfig"} {
		if kubeconfig != "" && !flags.Changed(name) {
			if err := flags.Set(name, kubeconfig); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// override puts a flag's value into the configuration.
type override struct {
	path  []string
	value any
}

// overrides collects the flags that were given. Beside a file of --config only --kubeconfig counts; the others kube-scheduler
// ignores there and says so in their help.
func overrides(flags *pflag.FlagSet, builtIn bool) []override {
	var list []override
	add := func(name string, value func(string) any, path ...string) {
		if flags.Changed(name) {
			list = append(list, override{path, value(flags.Lookup(name).Value.String())})
		}
	}
	text := func(s string) any { return s }
	number := func(s string) any { f, _ := strconv.ParseFloat(s, 64); return f } // the flag's own type has parsed it
	add("kubeconfig", text, "clientConnection", "kubeconfig")
	if builtIn {
		add("kube-api-qps", number, "clientConnection", "qps")
		add("kube-api-burst", number, "clientConnection", "burst")
		add("kube-api-content-type", text, "clientConnection", "contentType")
		add("profiling", func(s string) any { return s == "true" }, "enableProfiling")
		add("contention-profiling", func(s string) any { return s == "true" }, "enableContentionProfiling")
	}
	return list
}

// overlay writes the overrides into a KubeSchedulerConfiguration and returns it with its clientConnection.kubeconfig. Without
// overrides the source comes back as it is. Fields are checked by the scheduler, when it decodes the result.
func overlay(source []byte, overrides []override) ([]byte, string, error) {
	var document map[string]any
	if err := yaml.UnmarshalStrict(source, &document); err != nil {
		return nil, "", err
	}
	for _, o := range overrides {
		at := document
		for i, key := range o.path {
			if i == len(o.path)-1 {
				at[key] = o.value
				break
			}
			child, ok := at[key].(map[string]any)
			if !ok {
				if at[key] != nil {
					return nil, "", fmt.Errorf("%s is no object", key)
				}
				child = map[string]any{}
				at[key] = child
			}
			at = child
		}
	}
	connection, _ := document["clientConnection"].(map[string]any)
	kubeconfig, _ := connection["kubeconfig"].(string)
	if len(overrides) == 0 {
		return source, kubeconfig, nil
	}
	result, err := yaml.Marshal(document)
	return result, kubeconfig, err
}

// memoryFile holds content in a file without a name: kube-scheduler takes its configuration from a path only, and in a
// container with a read-only root there is none to write to.
func memoryFile(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("scheduler-config.yaml", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file in memory: %w", err)
	}
	file := os.NewFile(uintptr(fd), "scheduler-config.yaml")
	if _, err := file.Write(content); err != nil {
		file.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	return file, nil
}

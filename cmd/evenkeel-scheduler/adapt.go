package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/cmd/evenkeel-scheduler/skew"
)

const (
	versionInterval = 2 * time.Second  // between questions to a control plane that doesn't answer
	versionTimeout  = 10 * time.Second // for one answer
)

// adapt sets the flags that the control plane's release asks for. It waits for the control plane until the context ends.
func adapt(ctx context.Context, flags *pflag.FlagSet, config *configuration) error {
	server, err := serverVersion(ctx, config)
	if err != nil {
		return err
	}
	plan, err := skew.Plan(server)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Adapting to the control plane", "version", server.GitVersion, "major", server.Major, "minor", server.Minor, "emulatedVersion", plan.EmulatedVersion, "featureGates", plan.FeatureGates)
	return applyPlan(flags, plan)
}

// applyPlan sets flags, but for what the user has set: who names a version or a gate knows better.
func applyPlan(flags *pflag.FlagSet, plan skew.Flags) error {
	if plan.EmulatedVersion != "" && !flags.Changed("emulated-version") {
		if err := flags.Set("emulated-version", plan.EmulatedVersion); err != nil {
			return fmt.Errorf("emulating Kubernetes %s: %w", plan.EmulatedVersion, err)
		}
	}
	gate, _, _ := strings.Cut(plan.FeatureGates, "=")
	given := flags.Lookup("feature-gates").Value.String()
	if gate == "" || flags.Changed("emulated-version") || strings.Contains(given, gate+"=") {
		return nil
	}
	value := plan.FeatureGates
	if strings.Contains(given, "kube:") { // kube-scheduler wants all gates with the component's name, or none
		value = "kube:" + value
	}
	if err := flags.Set("feature-gates", value); err != nil {
		return fmt.Errorf("setting feature gate %s: %w", value, err)
	}
	return nil
}

// serverVersion asks the control plane for its version until it answers or the context ends.
func serverVersion(ctx context.Context, config *configuration) (version.Info, error) {
	rest, err := config.rest()
	if err != nil {
		return version.Info{}, fmt.Errorf("finding the API server: %w", err)
	}
	rest.Timeout = versionTimeout
	client, err := discovery.NewDiscoveryClientForConfig(rest)
	if err != nil {
		return version.Info{}, fmt.Errorf("making a discovery client: %w", err)
	}
	var server version.Info
	err = wait.PollUntilContextCancel(ctx, versionInterval, true, func(ctx context.Context) (bool, error) {
		info, err := client.ServerVersionWithContext(ctx)
		if err != nil && ctx.Err() != nil {
			return false, nil // the wait ends with the context's error
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "The control plane doesn't tell its version, trying again", "host", rest.Host)
			return false, nil
		}
		server = *info
		return true, nil
	})
	return server, err
}

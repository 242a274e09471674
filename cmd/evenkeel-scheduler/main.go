// evenkeel-scheduler places the VIPs of Evenkeel: it is kube-scheduler's own command with the plugin VIPLoad, a built-in
// profile, and an adaptation to the release of the control plane.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build metrics
)

func main() {
	// kube-scheduler has its own handler from the moment it runs; this one covers the time before and tells afterwards
	// that the end was asked for.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(newCommand(ctx))
	stop()
	os.Exit(code)
}

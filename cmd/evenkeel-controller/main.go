// Command evenkeel-controller gives LoadBalancer Services their virtual IPs: it allocates addresses from VIPPools, records
// them as VIPs, and keeps the placeholder pods that stand for a VIP's place in the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register" // --logging-format=json
	"k8s.io/component-base/term"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/api/version"
	"evenkeel.io/evenkeel/controller/apihealth"
	"evenkeel.io/evenkeel/controller/fleet"
	"evenkeel.io/evenkeel/controller/place"
	"evenkeel.io/evenkeel/controller/serving"
	"evenkeel.io/evenkeel/controller/setup"
)

func main() { os.Exit(cli.Run(command())) }

func command() *cobra.Command {
	o := defaultOptions()
	sets := o.flagSets()
	cmd := &cobra.Command{
		Use:           "evenkeel-controller",
		Short:         "Gives LoadBalancer Services their virtual IPs",
		Long:          "evenkeel-controller allocates virtual IPs for LoadBalancer Services, records them as VIP objects,\nand keeps the placeholder pods by which evenkeel-scheduler places them and the announcers announce them.",
		Version:       version.String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			if err := errors.Join(o.validate(), logsapi.ValidateAndApply(o.logging, nil)); err != nil {
				return err
			}
			return run(ctrl.SetupSignalHandler(), o)
		},
	}
	cmd.Flags().AddFlagSet(flagSet(sets))
	cols, _, _ := term.TerminalSize(cmd.OutOrStdout())
	flag.SetUsageAndHelpFunc(cmd, sets, cols)
	return cmd
}

// Leader election: a steady leader costs a request each retryPeriod; a leader that dies is replaced within leaseDuration.
// VIPs stay where they are in between.
const (
	leaseName     = "evenkeel-controller"
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 3 * time.Second
)

// stopTimeout bounds how long requests under way may take after SIGTERM.
const stopTimeout = 10 * time.Second

func run(ctx context.Context, o *options) error {
	logger := klog.Background()
	ctrl.SetLogger(logger)
	ctx = klog.NewContext(ctx, logger)
	logger.Info("Starting", "version", version.String(), "namespace", o.namespace, "class", o.loadBalancerClass, "default", o.serveClassless)

	config, err := clientConfig(o)
	if err != nil {
		return err
	}
	if err := checkAPI(ctx, config, o.kinds()); err != nil {
		return err
	}
	meter := apihealth.New(clock.RealClock{})
	config.Wrap(meter.Wrap)
	lease, renew, retry, stop := leaseDuration, renewDeadline, retryPeriod, stopTimeout
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        setup.Scheme(),
		Cache:                         setup.CacheOptions(o.namespace),
		Logger:                        logger,
		BaseContext:                   func() context.Context { return ctx },
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true, // run returns right after the manager has stopped
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
		Metrics:                       metricsserver.Options{BindAddress: o.metricsAddress},
		HealthProbeBindAddress:        o.healthAddress,
		GracefulShutdownTimeout:       &stop,
	})
	if err != nil {
		return fmt.Errorf("creating the manager: %w", err)
	}
	err = setup.Add(ctx, mgr, setup.Options{
		Class:      serving.Class{Name: o.loadBalancerClass, Default: o.serveClassless},
		Look:       place.Look{Namespace: o.namespace, Image: o.placeholderImage, PriorityClass: o.priorityClass},
		Quarantine: o.addressLifetime + o.linger,
		Workers:    o.workers,
		Nodes:      fleet.Options{IgnoreExcludeLabel: o.ignoreExcludeLabel},
		Measure:    load.MeasureOf(o.criteria()),
		Health:     meter,
		Rebalance:  o.rebalance,
	})
	if err != nil {
		return err
	}
	synced := func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the caches haven't listed everything yet")
		}
		return nil
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("caches", synced)); err != nil {
		return fmt.Errorf("adding health checks: %w", err)
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running: %w", err)
	}
	logger.Info("Stopped")
	return nil
}

func clientConfig(o *options) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if o.kubeconfig != "" {
		config, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	} else if config, err = rest.InClusterConfig(); err != nil {
		err = fmt.Errorf("no --kubeconfig, and not in a pod: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("configuring the client: %w", err)
	}
	config.QPS, config.Burst = o.apiQPS, o.apiBurst
	config.UserAgent = "evenkeel-controller/" + version.String()
	return config, nil
}

// apiPatience is how long an API server that doesn't answer is waited for at a start: both may be starting.
const apiPatience = 30 * time.Second

// checkAPI makes a missing CRD an error and an exit: an informer for it would only wait, silently and for ever.
func checkAPI(ctx context.Context, config *rest.Config, kinds []string) error {
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("configuring discovery: %w", err)
	}
	missing, last := error(nil), error(nil)
	err = wait.PollUntilContextTimeout(ctx, time.Second, apiPatience, true, func(context.Context) (bool, error) {
		missing, last = missingKinds(client, kinds)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("asking the API server for %s: %w", v1alpha1.GroupVersion, errors.Join(last, err))
	}
	return missing
}

// groupVersions is the part of discovery that is used.
type groupVersions interface {
	ServerResourcesForGroupVersion(groupVersion string) (*metav1.APIResourceList, error)
}

// kinds are the objects that are needed.
func (o *options) kinds() []string {
	kinds := []string{"vips", "vippools", "vipnodes"}
	if load.MeasureOf(o.criteria()).Measured() {
		kinds = append(kinds, "vipnodetraffics")
	}
	return kinds
}

// missingKinds asks for our objects. missing names those that the server doesn't have; err means that it couldn't be asked.
func missingKinds(client groupVersions, kinds []string) (missing, err error) {
	list, err := client.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("the API server doesn't know %s: apply the CustomResourceDefinitions (manifests/crd) first", v1alpha1.GroupVersion), nil
	}
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for _, resource := range list.APIResources {
		have[resource.Name] = true
	}
	for _, want := range kinds {
		if !have[want] {
			return fmt.Errorf("the API server doesn't know %s.%s: apply the CustomResourceDefinitions (manifests/crd) first", want, v1alpha1.GroupVersion.Group), nil
		}
	}
	return nil, nil
}

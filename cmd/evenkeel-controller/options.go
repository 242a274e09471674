package main

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/controller/rebalance/policy"
)

// options are the command's flags.
type options struct {
	kubeconfig        string
	namespace         string
	loadBalancerClass string
	serveClassless    bool
	leaderElect       bool
	metricsAddress    string
	healthAddress     string
	apiQPS            float32
	apiBurst          int
	addressLifetime   time.Duration
	linger            time.Duration
	placeholderImage  string
	priorityClass     string
	workers           int
	loadCriteria      []string

	ignoreExcludeLabel bool
	rebalance          policy.Policy
	logging            *logsapi.LoggingConfiguration
}

// defaultOptions holds every default. The ports are none of Kubernetes' own (10248-10260, 2379-2381, 6443, 9100).
func defaultOptions() *options {
	return &options{
		namespace:         placeholder.DefaultNamespace,
		loadBalancerClass: placeholder.DefaultLoadBalancerClass,
		metricsAddress:    ":17471",
		healthAddress:     ":17472",
		apiQPS:            500,
		apiBurst:          1000,
		addressLifetime:   6 * time.Second,
		linger:            10 * time.Second,
		placeholderImage:  "registry.k8s.io/pause:3.10",
		// As a pod of a critical priority a placeholder isn't evicted for pressure on its node (kubelet, IsCriticalPod).
		// Not system-node-critical: it may move, and must never push a node's own agents aside.
		priorityClass: "system-cluster-critical",
		workers:       8,
		loadCriteria:  texts(load.DefaultCriteria()),
		rebalance:     policy.Default(),
		logging:       logsapi.NewLoggingConfiguration(),
	}
}

// flagSets returns the flags in the groups in which --help shows them.
func (o *options) flagSets() flag.NamedFlagSets {
	var sets flag.NamedFlagSets
	fs := sets.FlagSet("controller")
	fs.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "Kubeconfig file. Without it the pod's own service account is used.")
	fs.StringVar(&o.namespace, "namespace", o.namespace, "Namespace of the placeholders and of the leader's lease.")
	fs.StringVar(&o.loadBalancerClass, "load-balancer-class", o.loadBalancerClass, "loadBalancerClass of the Services that are served.")
	fs.BoolVar(&o.serveClassless, "default", o.serveClassless, "Serve Services of type LoadBalancer without a class too.")
	fs.BoolVar(&o.leaderElect, "leader-elect", o.leaderElect, "Work only while holding the lease evenkeel-controller, so that several replicas can run.")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", o.metricsAddress, `Address of /metrics over plain HTTP ("0": none).`)
	fs.StringVar(&o.healthAddress, "health-probe-bind-address", o.healthAddress, `Address of /healthz and /readyz over plain HTTP ("0": none).`)
	fs.Float32Var(&o.apiQPS, "kube-api-qps", o.apiQPS, "Requests a second to the API server, sustained.")
	fs.IntVar(&o.apiBurst, "kube-api-burst", o.apiBurst, "Requests to the API server in a burst.")
	fs.IntVar(&o.workers, "workers", o.workers, "Services, and VIPs, worked on at a time.")

	fs = sets.FlagSet("addresses and placeholders")
	fs.DurationVar(&o.addressLifetime, "address-lifetime", o.addressLifetime, "Lifetime of an address on a node, as the announcers set it. A released address is given out again after this and --linger.")
	fs.DurationVar(&o.linger, "linger", o.linger, "How long an announcer holds an address whose placeholder is gone, as the announcers' flag says.")
	fs.BoolVar(&o.ignoreExcludeLabel, "ignore-exclude-label", o.ignoreExcludeLabel, "Nodes labelled node.kubernetes.io/exclude-from-external-load-balancers may announce all the same. Set ignoreExcludeLabel of the scheduler's VIPLoad plugin too.")
	fs.StringSliceVar(&o.loadCriteria, "load-criteria", o.loadCriteria, "What standbys are spread by, the most important first: Count, Traffic, NICUtilization, CPU. It must be what the criteria of the scheduler's VIPLoad plugin are.")
	fs.StringVar(&o.placeholderImage, "placeholder-image", o.placeholderImage, "Image of the placeholders' container, which does nothing.")
	fs.StringVar(&o.priorityClass, "placeholder-priority-class", o.priorityClass, "PriorityClass of the placeholders. Empty: the default one (for clusters whose quotas allow critical pods in kube-system alone).")

	o.rebalance.AddFlags(sets.FlagSet("evening out"))

	logsapi.AddFlags(o.logging, sets.FlagSet("logs"))
	global := sets.FlagSet("global")
	global.Bool("version", false, "Print the version and quit.")
	global.BoolP("help", "h", false, "Show this help.")
	return sets
}

// dnsLabel is what a namespace's name looks like (RFC 1123).
var dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func (o *options) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(dnsLabel.MatchString(o.namespace), "--namespace: %q is no namespace name", o.namespace)
	check(o.loadBalancerClass != "", "--load-balancer-class must not be empty")
	check(o.placeholderImage != "", "--placeholder-image must not be empty")
	check(o.apiQPS > 0 && o.apiBurst > 0, "--kube-api-qps and --kube-api-burst must be positive")
	check(o.workers > 0 && o.workers <= 256, "--workers: %d is not between 1 and 256", o.workers)
	check(o.addressLifetime >= time.Second, "--address-lifetime: %s is less than a second, the kernel's granularity", o.addressLifetime)
	check(o.linger >= 0, "--linger must not be negative")
	if err := load.ValidateCriteria(o.criteria(), field.NewPath("--load-criteria")).ToAggregate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, o.rebalance.Validate())...)
}

// criteria are what --load-criteria names.
func (o *options) criteria() []load.Criterion {
	var list []load.Criterion
	for _, text := range o.loadCriteria {
		list = append(list, load.Criterion(text))
	}
	return list
}

func texts(criteria []load.Criterion) []string {
	var list []string
	for _, c := range criteria {
		list = append(list, string(c))
	}
	return list
}

// flagSet joins the groups into one set.
func flagSet(sets flag.NamedFlagSets) *pflag.FlagSet {
	fs := pflag.NewFlagSet("evenkeel-controller", pflag.ContinueOnError)
	for _, name := range sets.Order {
		fs.AddFlagSet(sets.FlagSets[name])
	}
	fs.SetNormalizeFunc(flag.WordSepNormalizeFunc)
	return fs
}

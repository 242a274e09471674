package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/dataplane"
	"evenkeel.io/evenkeel/announcer/handoff"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/nic"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/probe"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/version"
)

// options are the announcer's flags.
type options struct {
	kubeconfig    string
	namespace     string
	nodeName      string
	interfaces    string
	conflictProbe string
	stateDir      string

	lifetime         time.Duration
	linger           time.Duration
	handoverLifetime time.Duration
	healthCheck      string
	profile          string
	protect          bool
	handoff          bool
	traffic          bool
	handoffLimits    handoff.Limits
	rate, burst      int
	metricsAddress   string
	healthAddress    string

	logging *logsapi.LoggingConfiguration
}

func defaultOptions() *options {
	return &options{
		namespace:        placeholder.DefaultNamespace,
		nodeName:         os.Getenv("NODE_NAME"),
		conflictProbe:    "quick",
		stateDir:         state.DefaultDir,
		lifetime:         address.DefaultLifetime,
		linger:           place.DefaultConfig().Linger,
		handoverLifetime: 90 * time.Second,
		healthCheck:      dataplane.DefaultURL,
		profile:          liveness.ProfileBalanced,
		protect:          true,
		handoff:          true,
		traffic:          true,
		handoffLimits:    handoff.Limits{Idle: handoff.DefaultIdle, Max: handoff.DefaultMax},
		rate:             announce.DefaultRate,
		burst:            announce.DefaultBurst,
		metricsAddress:   ":17475",
		healthAddress:    ":17476",
		logging:          logsapi.NewLoggingConfiguration(),
	}
}

func (o *options) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "Kubeconfig file. Without it the pod's service account is used.")
	fs.StringVar(&o.namespace, "namespace", o.namespace, "Namespace of the placeholder pods.")
	fs.StringVar(&o.nodeName, "node-name", o.nodeName, "This node's name (default: environment variable NODE_NAME).")
	fs.StringVar(&o.interfaces, "interfaces", o.interfaces, "Regular expression; only interfaces whose whole name matches may announce. Default: all but loopback and those that container networks make.")
	fs.StringVar(&o.conflictProbe, "conflict-probe", o.conflictProbe, `How to ask the wire for another owner before an address is first announced: "quick" (3 probes, 12 ms), "rfc5227" (4 to 7 s) or "off".`)
	fs.StringVar(&o.stateDir, "state-dir", o.stateDir, "Folder for what must survive a restart but not a reboot; put it on tmpfs.")
	fs.DurationVar(&o.lifetime, "address-lifetime", o.lifetime, "Lifetime that addresses are bound with, renewed every third of it. The kernel removes them by itself when this process dies or hangs. At least 3s.")
	fs.DurationVar(&o.linger, "linger", o.linger, "How long an address is held for a successor after its placeholder has gone.")
	fs.DurationVar(&o.handoverLifetime, "handover-lifetime", o.handoverLifetime, "Lifetime that addresses are left with at SIGTERM, for the next process (an upgrade) to take over.")
	fs.StringVar(&o.healthCheck, "data-plane-healthz", o.healthCheck, "URL that answers 200 while this node can serve Services: kube-proxy's by default. Empty: not checked.")
	fs.StringVar(&o.profile, "failover-profile", o.profile, `How soon a standby takes over from a node that fell silent: "balanced" (under a second, for any network) or "fast" (a quarter of a second, for quiet networks and nodes that are never starved of CPU).`)
	fs.BoolVar(&o.protect, "protect", o.protect, "Let only the Services' ports and ICMP reach a VIP (nftables).")
	fs.BoolVar(&o.handoff, "handoff", o.handoff, "Hand established TCP connections to a VIP that moves here on to the node that served them, so that planned moves reset none (nftables, beside kube-proxy in its nftables and iptables modes).")
	fs.DurationVar(&o.handoffLimits.Idle, "handoff-idle", o.handoffLimits.Idle, "How long a VIP's connections may be silent before no more of them are handed on to an earlier node.")
	fs.DurationVar(&o.handoffLimits.Max, "handoff-max", o.handoffLimits.Max, "How long after a move connections are handed on at most.")
	fs.BoolVar(&o.traffic, "traffic", o.traffic, "Measure what each VIP carries (nftables), and publish it with how busy this node is as its VIPNodeTraffic, at most every 30s.")
	fs.IntVar(&o.rate, "announce-rate", o.rate, "Announcement and probe frames a second for the whole node. Switches with dynamic ARP inspection shut untrusted ports above 15: use 10 there.")
	fs.IntVar(&o.burst, "announce-burst", o.burst, "Frames that may exceed --announce-rate at once.")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", o.metricsAddress, "Address for /metrics; 0 turns it off.")
	fs.StringVar(&o.healthAddress, "health-probe-bind-address", o.healthAddress, "Address for /healthz and /readyz; 0 turns it off.")
	logsapi.AddFlags(o.logging, fs)
}

func (o *options) validate() error {
	var errs []error
	if o.nodeName == "" {
		errs = append(errs, errors.New("--node-name (or environment variable NODE_NAME) must be this node's name"))
	}
	if o.namespace == "" {
		errs = append(errs, errors.New("--namespace must not be empty"))
	}
	if _, err := nic.ParseFilter(o.interfaces); err != nil {
		errs = append(errs, fmt.Errorf("--interfaces: %w", err))
	}
	if _, err := timing(o.conflictProbe); err != nil {
		errs = append(errs, err)
	}
	if _, err := liveness.Profile(o.profile); err != nil {
		errs = append(errs, fmt.Errorf("--failover-profile: %w", err))
	}
	if o.lifetime < 3*time.Second {
		errs = append(errs, fmt.Errorf("--address-lifetime must be at least 3s, as the kernel counts in seconds; it is %s", o.lifetime))
	}
	if o.handoverLifetime < o.lifetime {
		errs = append(errs, fmt.Errorf("--handover-lifetime (%s) must not be below --address-lifetime (%s)", o.handoverLifetime, o.lifetime))
	}
	if o.handoffLimits.Idle < time.Second || o.handoffLimits.Max < o.handoffLimits.Idle {
		errs = append(errs, fmt.Errorf("--handoff-idle (%s) must be at least 1s, and --handoff-max (%s) not below it", o.handoffLimits.Idle, o.handoffLimits.Max))
	}
	if o.linger < 0 {
		errs = append(errs, errors.New("--linger must not be negative"))
	}
	if o.rate < 1 || o.burst < 1 {
		errs = append(errs, errors.New("--announce-rate and --announce-burst must be at least 1"))
	}
	return errors.Join(errs...)
}

// timing returns the probe's timing; nil means off.
func timing(mode string) (*probe.Timing, error) {
	var t probe.Timing
	switch mode {
	case "quick", "true": // "true": what a bare --conflict-probe means
		t = probe.Quick()
	case "rfc5227":
		t = probe.RFC5227()
	case "off", "false":
		return nil, nil
	default:
		return nil, fmt.Errorf(`--conflict-probe must be "quick", "rfc5227" or "off", not %q`, mode)
	}
	return &t, nil
}

func newCommand() *cobra.Command {
	opts := defaultOptions()
	cmd := &cobra.Command{
		Use:   "evenkeel-announcer",
		Short: "Binds and announces the virtual IPs that were placed on this node",
		Long: `evenkeel-announcer runs once on every node. It follows the placeholder pods that evenkeel-scheduler bound to its node: it
binds their addresses to the NIC in their subnet and announces them by ARP and neighbour discovery. Addresses are bound with a
short lifetime that it keeps renewing, so that none outlives it. It needs CAP_NET_ADMIN, CAP_NET_RAW and the host's network.`,
		Version:      version.String(),
		SilenceUsage: true,
		Args:         cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := logsapi.ValidateAndApply(opts.logging, nil); err != nil {
				return err
			}
			if err := opts.validate(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return run(ctx, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cmd.Flags().Lookup("conflict-probe").NoOptDefVal = "quick"
	cmd.SetGlobalNormalizationFunc(cliflag.WordSepNormalizeFunc)
	return cmd
}

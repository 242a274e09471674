package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kube-scheduler/app"

	"evenkeel.io/evenkeel/plugins/vipload"
)

// securePort is where /healthz, /readyz, /livez and /metrics are served; kube-scheduler's own is 10259.
const securePort = "17473"

// newCommand makes the command. The context ends when the process is asked to end.
func newCommand(ctx context.Context) *cobra.Command {
	cmd := app.NewSchedulerCommand(app.WithPlugin(vipload.Name, vipload.New))
	cmd.Use = "evenkeel-scheduler"
	cmd.Short = "Places the virtual IPs of LoadBalancer Services evenly over the nodes"
	cmd.Long = `evenkeel-scheduler is a secondary scheduler: kube-scheduler with the plugin VIPLoad. It binds the
placeholder pods of Evenkeel's virtual IPs, those with schedulerName evenkeel-scheduler, to the least
loaded node that can announce them.

Without --config it uses a built-in profile. It serves control planes of Kubernetes 1.34 to 1.37 and
adapts itself to their release. /healthz, /readyz, /livez and /metrics are on --secure-port.`
	setDefault(cmd.Flags(), "secure-port", securePort)
	describe(cmd.Flags(), "kubeconfig", "Path to a kubeconfig file. It also takes the place of clientConnection.kubeconfig in the file of --config. Without one the scheduler runs inside the cluster.")
	describe(cmd.Flags(), "config", "Path to a KubeSchedulerConfiguration file. Without one the built-in profile evenkeel-scheduler is used.")
	describe(cmd.Flags(), "version", "--version prints the version and quits")

	// The flags of kube-scheduler are set before it reads them, so that everything behind them stays its own.
	setGates, run := cmd.PersistentPreRunE, cmd.RunE
	cmd.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		if versionRequested(cmd.Flags()) {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), describeVersion())
				return err
			}
			return nil
		}
		config, err := configure(cmd.Flags())
		if err != nil {
			return err
		}
		if err := adapt(ctx, cmd.Flags(), config); err != nil {
			if ctx.Err() != nil { // asked to end while the control plane was away
				cmd.RunE = func(*cobra.Command, []string) error { return nil }
				return nil
			}
			return err
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			defer config.close()
			return stopped(ctx, run(cmd, args))
		}
		return setGates(cmd, args)
	}
	return cmd
}

// stopped makes a clean end of the error that kube-scheduler's command always returns, when the end was asked for.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		klog.Background().Info("Stopped", "reason", err.Error())
		return nil
	}
	return err
}

// setDefault changes a flag's default, in the help too.
func setDefault(flags *pflag.FlagSet, name, value string) {
	flag := flags.Lookup(name)
	if err := flag.Value.Set(value); err != nil { // a mistake in the code
		panic(fmt.Sprintf("default of --%s: %v", name, err))
	}
	flag.DefValue = value
}

func describe(flags *pflag.FlagSet, name, usage string) { flags.Lookup(name).Usage = usage }

// Command kubectl-evenkeel shows where the virtual IPs are and what holds moves back, and gives orders: even out now, move one,
// evacuate a node. It talks to nobody but the API server, with the rights of who runs it; the controller carries the orders out.
package main

import (
	"os"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/cli"
	"k8s.io/utils/clock"
)

func main() {
	flags := genericclioptions.NewConfigFlags(true)
	cmd := newCommand(&options{
		streams: genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
		clock:   clock.RealClock{},
		connect: connectWith(flags),
	})
	flags.Namespace = nil // ours means another one
	flags.AddFlags(cmd.PersistentFlags())
	if err := cli.RunNoErrOutput(cmd); err != nil {
		_, _ = os.Stderr.WriteString("error: " + err.Error() + "\n")
		os.Exit(1)
	}
}

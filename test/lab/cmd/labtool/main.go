// Command labtool builds the lab's control plane and runs labs by hand.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/lab/binaries"
)

const usage = `usage: labtool build              build the control plane into the cache
       labtool up [flags]         start a lab and keep it until Ctrl-C

`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "up" {
		lab.Enter()
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "labtool: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(progress, usage)
		return fmt.Errorf("no command")
	}
	switch args[0] {
	case "build":
		dir, err := binaries.Ensure(ctx, binaries.Options{Progress: progress})
		if err != nil {
			return err
		}
		fmt.Fprintln(out, dir)
		return nil
	case "up":
		return up(ctx, args[1:], out, progress)
	default:
		fmt.Fprint(progress, usage)
		return fmt.Errorf("unknown command %q", args[0])
	}
}

func up(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	o := lab.Options{Progress: progress}
	flags.IntVar(&o.Nodes, "nodes", 3, "number of nodes")
	flags.IntVar(&o.FakeNodes, "fake-nodes", 0, "number of nodes without a namespace")
	flags.StringVar((*string)(&o.ProxyMode), "proxy-mode", string(lab.NFTables), "kube-proxy's mode: nftables or iptables")
	flags.StringVar(&o.Manifests, "manifests", "", "kustomization to apply")
	flags.StringVar(&o.Components, "components", "", "folder with evenkeel's binaries")
	var run string
	flags.StringVar(&run, "run", "", "components to start, comma-separated; all by default")
	flags.StringVar(&o.Logs, "logs", "", "folder that receives the logs at the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if run != "" {
		o.Run = strings.Split(run, ",")
	}
	c, err := lab.Start(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprint(out, c.Howto())
	<-ctx.Done()
	fmt.Fprintln(progress, "ending the lab")
	return c.Close()
}

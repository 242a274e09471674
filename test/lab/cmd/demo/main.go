// Command demo shows Evenkeel on a real cluster of three nodes: Services in waves, a live picture of which node announces
// which VIP, an HTTP request through every VIP, and a check that exactly one node answers for each; then a power loss and a drain.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"evenkeel.io/evenkeel/test/lab"
	"evenkeel.io/evenkeel/test/scenario"
)

const (
	nodes    = 3
	services = 12
	wave     = 4
)

func main() {
	lab.Enter()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out *os.File) (err error) {
	fmt.Fprintf(out, "A cluster of %d nodes in network namespaces: real etcd, API server, controller manager and kube-proxies.\n", nodes)
	e, err := scenario.Start(ctx, lab.Options{Nodes: nodes, Progress: out})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Fprintln(out, "Taking the cluster down.")
		err = errors.Join(err, e.Close())
	}()
	s := &show{env: e, out: out, live: term.IsTerminal(int(out.Fd()))}
	names := scenario.Names("web", services)
	fmt.Fprintf(out, "\n%d Services in waves of %d. ■ a VIP, ● it has answered an HTTP request.\n\n", services, wave)
	for i := 0; i < services; i += wave {
		if err := s.wave(ctx, names[i:i+wave]); err != nil {
			return err
		}
	}
	verdict := s.summary(ctx)
	if verdict == nil {
		verdict = errors.Join(s.failover(ctx), s.summary(ctx))
	}
	if os.Getenv("KEEP") == "1" && ctx.Err() == nil {
		fmt.Fprintf(out, "\nThe cluster stays up until Ctrl-C.\n%s", e.Howto())
		<-ctx.Done()
	}
	return verdict
}

// show draws the picture and remembers what has been seen.
type show struct {
	env   *scenario.Env
	out   io.Writer
	live  bool // the picture is redrawn in place
	vips  []vipLine
	lines int
}

// wave creates Services, follows them until they are announced, and asks each by HTTP.
func (s *show) wave(ctx context.Context, names []string) error {
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- s.env.CreateAll(ctx, names, lab.ServiceOptions{}) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for created := false; !created; {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			created = true
		case <-tick.C:
		}
		if err := s.look(ctx); err != nil {
			return err
		}
		if s.live {
			s.draw()
		}
	}
	took := time.Since(begin)
	if err := s.ask(ctx); err != nil {
		return err
	}
	s.draw()
	s.lines = 0
	fmt.Fprintf(s.out, "  %d more Services announced after %d ms\n\n", len(names), took.Milliseconds())
	return nil
}

// look reads who announces what.
func (s *show) look(ctx context.Context) error {
	all, err := s.env.ListVIPs(ctx)
	if err != nil {
		return err
	}
	served := map[string]string{}
	for _, v := range s.vips {
		served[v.Address] = v.Served
	}
	s.vips = nil
	for _, vip := range all {
		address := vip.Spec.Addresses[0]
		s.vips = append(s.vips, vipLine{Address: address, Service: vip.Status.Services, Node: vip.Status.Node, Served: served[address]})
	}
	return nil
}

// ask sends an HTTP request through every VIP.
func (s *show) ask(ctx context.Context) error {
	for i := range s.vips {
		response, err := s.env.Client.Get(ctx, "http://"+s.vips[i].Address+"/")
		if err != nil {
			return fmt.Errorf("asking %s: %w", s.vips[i].Address, err)
		}
		s.vips[i].Served = response.Body
	}
	return nil
}

func (s *show) draw() {
	var names []string
	for _, n := range s.env.Nodes {
		names = append(names, n.Name())
	}
	drawn := picture(names, s.vips, s.live)
	if s.live && s.lines > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines)
	}
	fmt.Fprint(s.out, drawn)
	s.lines = 0
	for _, r := range drawn {
		if r == '\n' {
			s.lines++
		}
	}
}

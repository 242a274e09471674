package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/address"
	"evenkeel.io/evenkeel/announcer/agent"
	"evenkeel.io/evenkeel/announcer/announce"
	"evenkeel.io/evenkeel/announcer/guard"
	"evenkeel.io/evenkeel/announcer/handoff"
	"evenkeel.io/evenkeel/announcer/liveness"
	"evenkeel.io/evenkeel/announcer/place"
	"evenkeel.io/evenkeel/announcer/probe"
	"evenkeel.io/evenkeel/announcer/protect"
	"evenkeel.io/evenkeel/announcer/relay"
	"evenkeel.io/evenkeel/announcer/state"
	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/announcer/watch"
	"evenkeel.io/evenkeel/announcer/wires"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/api/version"
)

// farewell bounds the work at the end, so that SIGTERM never leads to SIGKILL.
const farewell = 5 * time.Second

// recently is how long ago another machine must have been heard on the wire for the node to count as back on it: the API server's
// answers alone imply as much traffic.
const recently = 30 * time.Second

// run wires everything together and works until ctx ends. What is bound then stays for the next process, with a longer
// lifetime.
func run(ctx context.Context, opts *options) error {
	logger := klog.FromContext(ctx)
	logger.Info("Starting", "version", version.String(), "node", opts.nodeName)

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var (
		node     *agent.Agent
		segments *wires.Set
		watcher  *watch.Watch
	)
	api, err := newAPI(opts,
		func() bool { return time.Since(segments.LastHeard()) < recently },
		func(neighbours []v1alpha1.Neighbour) { watcher.SetNeighbours(neighboursOf(ctx, neighbours)) })
	if err != nil {
		return err
	}
	store, err := state.Open(opts.stateDir)
	if err != nil {
		return err
	}
	kernel, err := newKernel(ctx, opts, api)
	if err != nil {
		return err
	}
	defer kernel.close(ctx)

	config := place.DefaultConfig()
	config.Linger = opts.linger
	probeTiming, err := timing(opts.conflictProbe)
	if err != nil {
		return err
	}
	if probeTiming == nil {
		config.Probe = false
		probeTiming = new(probe.Timing)
		*probeTiming = probe.Quick()
	}
	limiter, err := announce.NewLimiter(opts.rate, opts.burst, clock.RealClock{})
	if err != nil {
		return err
	}
	announcements := agent.NewAnnouncementMetrics(registry)
	// What may have been lost in a pause of this process is not announced before it was looked after.
	announcer, err := announce.New(announce.Options{Limiter: limiter, Allowed: kernel.binder.Held, Observe: announcements.Observe})
	if err != nil {
		return err
	}
	segments = wires.New(wires.Options{
		Timing: *probeTiming, Limiter: limiter, Announcer: announcer,
		Heard: func(nicName string, h probe.Heard) {
			node.Heard(ctx, h.Addr, place.Said{From: h.MAC, NIC: nicName, Kind: h.Kind, Title: h.Title, Titled: h.Titled})
		},
		Listen: func(nicName string, h probe.Heard) { watcher.Heard(nicName, h) },
	})
	profile, err := liveness.Profile(opts.profile)
	if err != nil {
		return err
	}
	watcher = watch.New(watch.Options{
		Config: profile, Solicit: segments.Neighbour, Sync: segments.Sync, Clock: clock.RealClock{},
		Events: func(event liveness.Event) { node.Liveness(ctx, event) },
		SilentNeighbours: func(nodes []string) {
			api.vipNode.Update(func(status *v1alpha1.VIPNodeStatus) { status.SilentNeighbours = nodes })
		},
	})
	watch.Register(registry, watcher)
	node = agent.New(agent.Options{
		Node: opts.nodeName, Watch: watcher,
		Binder: kernel.binder, Wire: segments, Guard: kernel.guard, Handoff: kernel.handoff.handler(), Traffic: kernel.traffic.meter(), Store: store, Pods: api.pods,
		Metrics: agent.NewMetrics(registry), Clock: clock.RealClock{}, Place: config, HostServed: kernel.hostServed,
	})
	if handler := kernel.handoff.handler(); handler != nil {
		relay.Register(registry, handler)
	}
	if meter := kernel.traffic.meter(); meter != nil {
		traffic.Register(registry, meter)
	}
	kernel.connect(ctx, node)

	if err := adopt(ctx, store, kernel, node); err != nil {
		return err
	}

	group, groupCtx := errgroup.WithContext(ctx)
	for name, work := range map[string]func(context.Context) error{
		"binder": kernel.binder.Run, "interfaces": kernel.nics.Run, "guard": kernel.guard.Run, "data plane": kernel.runChecker,
		"IPVS": kernel.followIPVS, "handoff": kernel.handoff.handler().Run, "kube-proxy": kernel.handoff.followProxy,
		"traffic": kernel.traffic.meter().Run, "VIPNodeTraffic": kernel.traffic.publish,
		"announcements": announcer.Run, "wires": segments.Run, "watch": watcher.Run, "agent": node.Run,
		"placeholder conditions": api.pods.Run, "VIPNode": api.vipNode.Run,
		"placeholders": func(ctx context.Context) error { return api.follow(ctx, opts, node) },
		"metrics":      func(ctx context.Context) error { return serveMetrics(ctx, opts.metricsAddress, registry) },
		"health":       func(ctx context.Context) error { return serveHealth(ctx, opts.healthAddress, node) },
	} {
		group.Go(func() error {
			if err := work(groupCtx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("running %s: %w", name, err)
			}
			return nil
		})
	}
	err = group.Wait()
	kernel.leave(context.WithoutCancel(ctx), opts.handoverLifetime)
	logger.Info("Stopped")
	return err
}

// neighboursOf reads the nodes to watch. What can't be read is passed over: it is a controller of another version's.
func neighboursOf(ctx context.Context, neighbours []v1alpha1.Neighbour) []watch.Neighbour {
	var read []watch.Neighbour
	for _, n := range neighbours {
		mac, err := probe.ParseMAC(n.MAC)
		if err == nil {
			var addr netip.Addr
			if addr, err = netip.ParseAddr(n.Address); err == nil {
				read = append(read, watch.Neighbour{Node: n.Node, MAC: mac, Addr: addr})
				continue
			}
		}
		klog.FromContext(ctx).V(1).Info("A neighbour can't be watched", "node", n.Node, "err", err)
	}
	return read
}

// adopt takes over what an earlier process left, before anything waits for the API server.
func adopt(ctx context.Context, store *state.File, kernel *kernel, node *agent.Agent) error {
	logger := klog.FromContext(ctx)
	saved, err := store.Load()
	if err != nil {
		logger.Info("Starting without saved state", "reason", err)
	}
	leftovers, err := kernel.binder.Leftovers(ctx)
	if err != nil {
		return fmt.Errorf("looking for addresses of an earlier process: %w", err)
	}
	plan := agent.Plan(leftovers, saved)
	bindings := make([]address.Binding, 0, len(plan))
	for _, one := range plan {
		bindings = append(bindings, one.Binding)
	}
	adoption, err := kernel.binder.Adopt(ctx, bindings)
	if err != nil {
		return fmt.Errorf("adopting addresses of an earlier process: %w", err)
	}
	adopted := plan[:0]
	for _, one := range plan {
		if slices.Contains(adoption.Adopted, one.Binding.Addr) {
			adopted = append(adopted, one)
		}
	}
	node.Adopt(ctx, adopted, saved)
	if len(adopted) > 0 {
		logger.Info("Adopted addresses of an earlier process", "count", len(adopted))
	}
	return nil
}

var (
	_ agent.Binder  = (*address.Binder)(nil)
	_ agent.Wire    = (*wires.Set)(nil)
	_ agent.Guard   = (*guard.Guard)(nil)
	_ agent.Store   = (*state.File)(nil)
	_ guard.Table   = (*protect.Table)(nil)
	_ agent.Handoff = (*relay.Relay)(nil)
	_ relay.Table   = (*handoff.Table)(nil)
	_ agent.Traffic = (*traffic.Traffic)(nil)
)

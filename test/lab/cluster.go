package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"evenkeel.io/evenkeel/test/lab/binaries"
)

// Cluster is a running lab.
type Cluster struct {
	// Config and Kube reach the API server as an administrator, from this process,
	// also while nodes and segment are cut. Kubeconfig is the same as a file.
	Config     *rest.Config
	Kube       kubernetes.Interface
	Kubeconfig string

	// Nodes in order: node-1 first.
	Nodes []*Node
	// Client is on the segment, Far behind Router.
	Client, Router, Far *Host
	// SecondClient is on the second segment; nil without Options.SecondNICs.
	SecondClient *Host

	// Etcd, APIServer and ControllerManager are the control plane; Scheduler and
	// Controller are ours, nil without Options.Components. All of them share a
	// namespace, ControlPlane.
	Etcd, APIServer, ControllerManager *Process
	Scheduler, Controller              *Process
	ControlPlane                       *Netns
	// API is between our components and the API server; nil without Options.APIRelay.
	API *APIRelay

	options   Options
	dir       string
	bin       string
	cp        *controlPlane
	workloads []workload
	numbers   *numbers
	fakes     *Process
	begin     time.Time

	progress sync.Mutex

	mu      sync.Mutex
	foreign int
	closers []func() error
}

// Start brings a cluster up and returns when its nodes are ready and kube-proxies
// have synced. One cluster at a time runs in a program; Enter must have been
// called. On an error nothing is left running.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if !Inside() {
		return nil, errors.New("lab.Enter must be called first: it makes the namespaces that the lab lives in")
	}
	c := &Cluster{options: o, dir: filepath.Join(runDir, "lab"), begin: time.Now(), numbers: &numbers{nodes: make(map[int]string)}}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the lab's folder (a cluster may be running already): %w", err)
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// say reports progress.
func (c *Cluster) say(format string, args ...any) {
	c.progress.Lock()
	defer c.progress.Unlock()
	fmt.Fprintf(c.options.Progress, "%6.2fs  %s\n", time.Since(c.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (c *Cluster) start(ctx context.Context) error {
	var err error
	if c.bin = c.options.ControlPlane; c.bin == "" {
		wanted := binaries.Default
		if c.options.KubeScheduler {
			wanted = append(slices.Clone(wanted), binaries.Scheduler)
		}
		c.bin, err = binaries.Ensure(ctx, binaries.Options{Binaries: wanted, Progress: c.options.Progress})
		if err != nil {
			return err
		}
	}
	if err := newSegment(); err != nil {
		return err
	}
	if c.cp, err = newControlPlane(c.dir, c.bin, c.options.Datastore, c.options.Nice, c.options.ControlPlaneArgs); err != nil {
		return err
	}
	c.ControlPlane = c.cp.ns
	c.Etcd, c.APIServer, c.ControllerManager = c.cp.etcd, c.cp.apiserver, c.cp.controllers
	if c.Config, c.Kubeconfig, err = c.cp.admin(); err != nil {
		return err
	}
	if c.Kube, err = newClient(c.Config); err != nil {
		return err
	}
	c.say("starting the control plane")
	// The machines are plugged together while the API server starts.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.cp.start(gctx) })
	g.Go(func() error { return c.plugTogether(gctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	c.say("control plane is up")
	g, gctx = errgroup.WithContext(ctx)
	g.Go(func() error { return c.startNodes(gctx) })
	g.Go(func() error { return c.startFakes(gctx) })
	if c.options.Manifests != "" {
		g.Go(func() error { return c.install(gctx) })
	}
	if c.options.KubeScheduler {
		g.Go(c.cp.scheduler.Start)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.say("%d nodes are ready", len(c.Nodes)+c.options.FakeNodes)
	if c.options.Components == "" {
		return nil
	}
	return c.startComponents(ctx)
}

// plugTogether makes all machines of the segment and describes the processes of
// the nodes.
func (c *Cluster) plugTogether(ctx context.Context) error {
	var err error
	if c.Router, c.Far, err = newRouter(); err != nil {
		return err
	}
	if c.Client, err = newHost("client", clientHost); err != nil {
		return err
	}
	if len(c.options.SecondNICs) > 0 {
		if c.SecondClient, err = newSecondSegment(); err != nil {
			return err
		}
	}
	kwok, err := writeKwokConfig(c.dir)
	if err != nil {
		return err
	}
	proxyUser, err := c.cp.pki.client("kube-proxy", "system:kube-proxy", nil, nodeURL)
	if err != nil {
		return err
	}
	// kwok isn't a kubelet to the last request, so it gets more rights than one.
	kubeletUser, err := c.cp.pki.client("kwok", "lab-kwok", []string{"system:masters"}, nodeURL)
	if err != nil {
		return err
	}
	logs := filepath.Join(c.dir, "logs")
	kubelet := func(name string, ns *Netns, which string) *Process {
		return newProcess(logs, name, ns, c.options.Nice, []string{
			filepath.Join(c.bin, "kwok"), "--kubeconfig=" + kubeletUser, "--config=" + kwok, which,
		})
	}
	c.fakes = kubelet("kubelet/fakes", c.cp.ns, "--manage-nodes-with-label-selector="+fakeLabel+"=true")
	for i := 1; i <= c.options.Nodes; i++ {
		n, err := newNode(ctx, i, c.options.secondOf(i), c.dir, c.numbers)
		if err != nil {
			return err
		}
		n.kube = c.Kube
		n.Kubelet = kubelet("kubelet/"+n.name, n.Netns, "--manage-single-node="+n.name)
		// kwok 0.8.0 has crashed by "concurrent map writes" of its own; a kubelet is started again by its node.
		n.Kubelet.revive = func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return n.StartKubelet(ctx)
		}
		c.onClose(func() error { n.Kubelet.abandon(); return nil })
		proxy, err := writeProxyConfig(c.dir, n.name, proxyUser, c.options.ProxyMode)
		if err != nil {
			return err
		}
		n.Proxy = newProcess(logs, "kube-proxy/"+n.name, n.Netns, c.options.Nice, []string{filepath.Join(c.bin, "kube-proxy"), "--config=" + proxy})
		for _, other := range c.Nodes {
			if err := errors.Join(n.routePods(other), other.routePods(n)); err != nil {
				return err
			}
		}
		c.Nodes = append(c.Nodes, n)
	}
	return nil
}

// startNodes registers the nodes, starts their processes and waits for all.
func (c *Cluster) startNodes(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, n := range c.Nodes {
		g.Go(func() error {
			if err := register(gctx, c.Kube, n.object(c.options.PodsPerNode)); err != nil {
				return err
			}
			if err := errors.Join(n.StartKubelet(gctx), n.Proxy.Start()); err != nil {
				return err
			}
			return c.waitForNode(gctx, n)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.waitForServiceAccount(ctx)
}

// startFakes registers the fake nodes and starts their kubelet.
func (c *Cluster) startFakes(ctx context.Context) error {
	if c.options.FakeNodes == 0 {
		return nil
	}
	labels := map[string]string{fakeLabel: "true"}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := 1; i <= c.options.FakeNodes; i++ {
		// An address outside every subnet of the lab.
		address := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})
		cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 65 + byte(i>>8), byte(i), 0}), 24)
		node := nodeObject(fmt.Sprintf("fake-%d", i), c.options.PodsPerNode, []netip.Prefix{cidr}, []netip.Addr{address}, labels)
		g.Go(func() error { return register(gctx, c.Kube, node) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := c.fakes.Start(); err != nil {
		return err
	}
	return c.fakes.until(ctx, func(ctx context.Context) error {
		return c.nodesReady(ctx, fakeLabel+"=true", c.options.FakeNodes)
	})
}

// onClose has f called when the cluster is closed, last first.
func (c *Cluster) onClose(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closers = append(c.closers, f)
}

// Close ends the cluster: every process in a namespace of the lab is killed, and
// the namespaces are removed. It may be called twice.
func (c *Cluster) Close() error {
	c.mu.Lock()
	closers := c.closers
	c.closers = nil
	c.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	for _, n := range c.Nodes {
		errs = append(errs, n.stopBackend())
	}
	errs = append(errs, c.tearDown())
	if c.options.Logs != "" {
		errs = append(errs, c.saveLogs())
	}
	if err := os.RemoveAll(c.dir); err != nil {
		errs = append(errs, fmt.Errorf("removing the lab's folder: %w", err))
	}
	return errors.Join(errs...)
}

// saveLogs copies logs and audit log to Options.Logs.
func (c *Cluster) saveLogs() error {
	if err := os.MkdirAll(c.options.Logs, 0o755); err != nil {
		return fmt.Errorf("saving the logs: %w", err)
	}
	err := filepath.WalkDir(filepath.Join(c.dir, "logs"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(filepath.Join(c.dir, "logs"), path)
		if err != nil {
			return err
		}
		return copyFile(path, filepath.Join(c.options.Logs, name))
	})
	if err == nil {
		err = copyFile(c.cp.audit, filepath.Join(c.options.Logs, "audit.log"))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("saving the logs: %w", err)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// Names of our components: of their binaries, workloads, containers and service
// accounts alike.
const (
	schedulerName  = "evenkeel-scheduler"
	controllerName = "evenkeel-controller"
	announcerName  = "evenkeel-announcer"
)

// startComponents runs every workload of the manifests, with the arguments that
// are written there, and waits for their readiness probes.
func (c *Cluster) startComponents(ctx context.Context) error {
	nearURL, farURL := localURL, nodeURL
	if c.options.APIRelay {
		var err error
		if c.API, err = startAPIRelay(ctx, c.ControlPlane); err != nil {
			return err
		}
		c.onClose(c.API.close)
		nearURL, farURL = slowLocalURL, slowNodeURL
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, w := range c.workloads {
		if len(c.options.Run) > 0 && !slices.Contains(c.options.Run, w.name) {
			continue
		}
		if !w.perNode {
			p, err := c.component(ctx, w, c.ControlPlane, "", nearURL)
			if err != nil {
				return err
			}
			switch w.name {
			case schedulerName:
				c.Scheduler = p
			case controllerName:
				c.Controller = p
			}
			g.Go(func() error { return c.startComponent(gctx, w, p) })
			continue
		}
		for _, n := range c.Nodes {
			p, err := c.component(ctx, w, n.Netns, n.name, farURL)
			if err != nil {
				return err
			}
			if w.name == announcerName {
				n.Announcer = p
			}
			g.Go(func() error { return c.startComponent(gctx, w, p) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.say("evenkeel's components are ready")
	return nil
}

// component describes the process that stands for a pod of the workload, on the
// given node or on none.
func (c *Cluster) component(ctx context.Context, w workload, ns *Netns, node, server string) (*Process, error) {
	if len(w.pod.Containers) != 1 {
		return nil, fmt.Errorf("workload %s: %d containers, want one", w.name, len(w.pod.Containers))
	}
	container := w.pod.Containers[0]
	name := strings.TrimPrefix(w.name, "evenkeel-")
	if node != "" {
		name += "/" + node
	}
	kubeconfig, err := c.tokenKubeconfig(ctx, w.pod.ServiceAccountName, node, server)
	if err != nil {
		return nil, err
	}
	mounts, err := c.mounts(ctx, w, node, kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.name, err)
	}
	args := []string{filepath.Join(c.options.Components, container.Name)}
	for _, arg := range container.Args {
		args = append(args, mounts.Replace(arg))
	}
	args = append(args, "--kubeconfig="+kubeconfig)
	args = append(args, c.options.ComponentArgs[container.Name]...)
	env, err := environment(container, node)
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.name, err)
	}
	env = append(env, c.options.ComponentEnv[container.Name]...)
	nice := c.options.Nice
	if w.name == announcerName {
		nice = 0
	}
	p := newProcess(filepath.Join(c.dir, "logs"), name, ns, nice, args, env...)
	p.revive = p.Start
	c.onClose(func() error { p.abandon(); return nil })
	return p, nil
}

// mounts replaces the paths that the container would see by those of the lab.
func (c *Cluster) mounts(ctx context.Context, w workload, node, kubeconfig string) (*strings.Replacer, error) {
	var pairs []string
	for _, m := range w.pod.Containers[0].VolumeMounts {
		for _, v := range w.pod.Volumes {
			if v.Name != m.Name {
				continue
			}
			switch {
			case v.HostPath != nil:
				// /run of a real node is its own, and is lost with its power.
				pairs = append(pairs, m.MountPath, filepath.Join(c.dir, "state", node))
			case v.ConfigMap != nil:
				dir := filepath.Join(c.dir, "config", v.ConfigMap.Name)
				if err := c.writeConfigMap(ctx, v.ConfigMap.Name, dir, kubeconfig); err != nil {
					return nil, err
				}
				pairs = append(pairs, m.MountPath, dir)
			}
		}
	}
	return strings.NewReplacer(pairs...), nil
}

// writeConfigMap writes a ConfigMap's files. A scheduler configuration gets the
// kubeconfig, because kube-scheduler takes it from there alone.
func (c *Cluster) writeConfigMap(ctx context.Context, name, dir, kubeconfig string) error {
	cm, err := c.Kube.CoreV1().ConfigMaps(Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading config map %s: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing config map %s: %w", name, err)
	}
	for file, data := range cm.Data {
		content := []byte(data)
		var object map[string]any
		if err := yaml.Unmarshal(content, &object); err == nil && object["kind"] == "KubeSchedulerConfiguration" {
			connection, ok := object["clientConnection"].(map[string]any)
			if !ok {
				connection = map[string]any{}
			}
			connection["kubeconfig"] = kubeconfig
			object["clientConnection"] = connection
			if err := setPluginArgs(object, c.options.PluginArgs); err != nil {
				return fmt.Errorf("writing config map %s: %w", name, err)
			}
			if content, err = yaml.Marshal(object); err != nil {
				return fmt.Errorf("writing config map %s: %w", name, err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			return fmt.Errorf("writing config map %s: %w", name, err)
		}
	}
	return nil
}

// environment is the container's, as its kubelet would fill it in.
func environment(container corev1.Container, node string) ([]string, error) {
	var env []string
	for _, e := range container.Env {
		value := e.Value
		if e.ValueFrom != nil {
			if e.ValueFrom.FieldRef == nil {
				return nil, fmt.Errorf("variable %s: only values and fields are understood", e.Name)
			}
			switch e.ValueFrom.FieldRef.FieldPath {
			case "spec.nodeName":
				value = node
			case "metadata.namespace":
				value = Namespace
			case "metadata.name":
				value = strings.Trim(container.Name+"-"+node, "-")
			default:
				return nil, fmt.Errorf("variable %s: field %s is not understood", e.Name, e.ValueFrom.FieldRef.FieldPath)
			}
		}
		env = append(env, e.Name+"="+value)
	}
	return env, nil
}

// startComponent starts the process and waits for its readiness probe.
func (c *Cluster) startComponent(ctx context.Context, w workload, p *Process) error {
	if err := p.Start(); err != nil {
		return err
	}
	url, err := probeURL(w.pod.Containers[0])
	if err != nil {
		return fmt.Errorf("workload %s: %w", w.name, err)
	}
	return p.until(ctx, func(ctx context.Context) error { return p.ns.probe(ctx, url) })
}

// probeURL is where the container's readiness probe asks, on the loopback.
func probeURL(container corev1.Container) (string, error) {
	if container.ReadinessProbe == nil || container.ReadinessProbe.HTTPGet == nil {
		return "", errors.New("it has no HTTP readiness probe")
	}
	get := container.ReadinessProbe.HTTPGet
	port := get.Port.IntVal
	for _, p := range container.Ports {
		if p.Name == get.Port.StrVal {
			port = p.ContainerPort
		}
	}
	scheme := strings.ToLower(string(get.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))) + get.Path, nil
}

// probe is a kubelet's HTTP probe.
func (n *Netns) probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("probing %s: %w", url, err)
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: n.DialContext,
		// Kubelets don't verify certificates of probes either.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fmt.Errorf("%s says %s", url, resp.Status)
	}
	return nil
}

// tokenKubeconfig writes a kubeconfig with a token of the service account; with a
// node the token is bound to the Node object, as those of its pods are.
func (c *Cluster) tokenKubeconfig(ctx context.Context, account, node, server string) (string, error) {
	token, err := c.Token(ctx, account, node)
	if err != nil {
		return "", err
	}
	name := strings.Trim(account+"-"+node, "-")
	path := c.cp.pki.file(name + ".token")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		return "", fmt.Errorf("writing the token of %s: %w", name, err)
	}
	return c.cp.pki.kubeconfig(name, server, &clientcmdapi.AuthInfo{TokenFile: path})
}

package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespace is where our components live.
const Namespace = "evenkeel-system"

// workload is a Deployment or DaemonSet of the manifests: what the lab runs in
// its pods' stead.
type workload struct {
	name string
	// perNode is true for a DaemonSet.
	perNode bool
	pod     corev1.PodSpec
}

// Kubectl runs kubectl as an administrator and returns its standard output.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig=" + c.Kubeconfig}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "HOME="+c.dir)
	// The namespace is the lab's own.
	err := onOwnThread(func() error { return startNice(cmd, c.options.Nice) })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return stdout.String(), fmt.Errorf("running kubectl %v: %w\n%s", args, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// install applies the manifests as a user would, and takes the workloads out
// again: kwok would only pretend to run them.
func (c *Cluster) install(ctx context.Context) error {
	if _, err := c.Kubectl(ctx, "apply", "-k", c.options.Manifests); err != nil {
		return fmt.Errorf("installing the manifests: %w", err)
	}
	if err := c.takeWorkloads(ctx); err != nil {
		return err
	}
	// A CRD is served a moment after it was accepted.
	if _, err := c.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"); err != nil {
		return fmt.Errorf("waiting for the CRDs: %w", err)
	}
	c.say("manifests are applied")
	return nil
}

// takeWorkloads deletes the workloads of our namespace and remembers them.
func (c *Cluster) takeWorkloads(ctx context.Context) error {
	apps := c.Kube.AppsV1()
	policy := metav1.DeletePropagationBackground
	del := metav1.DeleteOptions{PropagationPolicy: &policy}
	deployments, err := apps.Deployments(Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing deployments: %w", err)
	}
	daemons, err := apps.DaemonSets(Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing daemon sets: %w", err)
	}
	c.workloads = nil
	for _, d := range deployments.Items {
		c.workloads = append(c.workloads, workload{name: d.Name, pod: d.Spec.Template.Spec})
		if err := apps.Deployments(Namespace).Delete(ctx, d.Name, del); err != nil {
			return fmt.Errorf("deleting deployment %s: %w", d.Name, err)
		}
	}
	for _, d := range daemons.Items {
		c.workloads = append(c.workloads, workload{name: d.Name, perNode: true, pod: d.Spec.Template.Spec})
		if err := apps.DaemonSets(Namespace).Delete(ctx, d.Name, del); err != nil {
			return fmt.Errorf("deleting daemon set %s: %w", d.Name, err)
		}
	}
	sort.Slice(c.workloads, func(i, j int) bool { return c.workloads[i].name < c.workloads[j].name })
	return nil
}

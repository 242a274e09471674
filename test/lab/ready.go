package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// waitForNode returns when the node is Ready and its kube-proxy has synced.
func (c *Cluster) waitForNode(ctx context.Context, n *Node) error {
	if err := n.Kubelet.until(ctx, func(ctx context.Context) error { return c.nodeReady(ctx, n.name) }); err != nil {
		return err
	}
	return n.Proxy.until(ctx, func(ctx context.Context) error {
		url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(HealthzPort)) + "/healthz"
		r, err := n.Get(ctx, url)
		if err != nil {
			return err
		}
		if r.Status != http.StatusOK {
			return fmt.Errorf("/healthz says %d: %s", r.Status, r.Body)
		}
		return nil
	})
}

func (c *Cluster) nodeReady(ctx context.Context, name string) error {
	node, err := c.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return readiness(node)
}

// readiness is nil if pods may be placed on the node.
func readiness(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute {
			return fmt.Errorf("%s has the taint %s", node.Name, taint.Key)
		}
	}
	for _, cond := range node.Status.Conditions {
		if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("%s is not Ready", node.Name)
}

// nodesReady is nil if the selector finds want nodes and all are ready.
func (c *Cluster) nodesReady(ctx context.Context, selector string, want int) error {
	list, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: "0"})
	if err != nil {
		return err
	}
	if len(list.Items) != want {
		return fmt.Errorf("%d of %d nodes are registered", len(list.Items), want)
	}
	for i := range list.Items {
		if err := readiness(&list.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// waitForServiceAccount returns when pods can be created in namespace default.
func (c *Cluster) waitForServiceAccount(ctx context.Context) error {
	return c.ControllerManager.until(ctx, func(ctx context.Context) error {
		_, err := c.Kube.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// Eventually calls check every 20 ms until it returns nil, and returns its last
// error when ctx ends first.
func Eventually(ctx context.Context, check func(ctx context.Context) error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		// A check that ctx itself cut short says nothing.
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

// URL of a host's HTTP port.
func URL(host netip.Addr, port int) string {
	return "http://" + netip.AddrPortFrom(host, uint16(port)).String() + "/"
}

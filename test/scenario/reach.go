package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"evenkeel.io/evenkeel/test/lab"
)

// Reach is what can be reached through one VIP, and what can't.
type Reach struct {
	VIP    string   `json:"vip"`
	Node   string   `json:"node"`
	Owners []string `json:"owners"` // MACs that answer
	// Answers of a backend: to the client on the segment, to the one behind the router, and to a process on the holding node.
	Client string `json:"client"`
	Far    string `json:"far"`
	Local  string `json:"local"`
	// OpenPorts are ports of the node's own that answer on the VIP: none should.
	OpenPorts []int `json:"openPorts"`
	// OwnPorts are those that answer on the node's own address, to show that the listeners are there.
	OwnPorts []int `json:"ownPorts"`
}

// nodePorts are what a node listens on itself: SSH and the kubelet.
var nodePorts = []int{22, 10250}

// ListenAsNode opens the node's own ports on every address of a node, as its SSH server and kubelet do, until stop is called.
func (e *Env) ListenAsNode(ctx context.Context, node *lab.Node) (stop func() error, err error) {
	var listeners []net.Listener
	for _, port := range nodePorts {
		for _, network := range []string{"tcp4", "tcp6"} {
			l, err := node.Listen(ctx, network, ":"+strconv.Itoa(port))
			if err != nil {
				return nil, fmt.Errorf("listening as node %s: %w", node.Name(), err)
			}
			listeners = append(listeners, l)
			go func() { // ends when its listener is closed
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conn.Close()
				}
			}()
		}
	}
	return func() error {
		var errs []error
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		return errors.Join(errs...)
	}, nil
}

// served returns once a VIP's Service answers all who ask, as kube-proxy knows a new Service up to its sync period later than the
// announcer.
func (e *Env) served(ctx context.Context, vip netip.Addr, from ...*lab.Netns) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, netns := range from {
		err := lab.Eventually(ctx, func(ctx context.Context) error {
			_, err := netns.Get(ctx, lab.URL(vip, 80))
			return err
		})
		if err != nil {
			return fmt.Errorf("asking %s before: %w", vip, err)
		}
	}
	return nil
}

// servedLocally waits until the kube-proxy of every node sends what comes for a Service that prefers the same node to the backend there.
// After a node was away Kubernetes takes its endpoints for not ready for a while, and without an outage nobody waits for that.
func (e *Env) servedLocally(ctx context.Context) error {
	services, err := e.Kube.CoreV1().Services("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing Services: %w", err)
	}
	for _, n := range e.Nodes {
		for _, service := range services.Items {
			if ptr.Deref(service.Spec.TrafficDistribution, "") != corev1.ServiceTrafficDistributionPreferSameNode {
				continue
			}
			url := lab.URL(netip.MustParseAddr(service.Spec.ClusterIP), 80)
			err := patiently(ctx, func(ctx context.Context) error {
				response, err := n.Get(ctx, url)
				if err == nil && response.Body != n.Name() {
					err = fmt.Errorf("%s answers Service %s on %s", response.Body, service.Name, n.Name())
				}
				return err
			})
			if err != nil {
				return fmt.Errorf("waiting for backends: %w", err)
			}
		}
	}
	return nil
}

// ReachOf tries everything on a VIP that is announced by node.
func (e *Env) ReachOf(ctx context.Context, vip netip.Addr, node *lab.Node) (Reach, error) {
	r := Reach{VIP: vip.String(), Node: node.Name(), OpenPorts: []int{}, OwnPorts: []int{}}
	answers, err := e.Client.WhoHas(ctx, vip, 200*time.Millisecond)
	if err != nil {
		return r, err
	}
	for _, a := range answers {
		r.Owners = append(r.Owners, a.MAC.String())
	}
	for _, from := range []struct {
		netns *lab.Netns
		body  *string
	}{{e.Client.Netns, &r.Client}, {e.Far.Netns, &r.Far}, {node.Netns, &r.Local}} {
		response, err := from.netns.Get(ctx, lab.URL(vip, 80))
		if err != nil {
			return r, fmt.Errorf("asking %s from %s: %w", vip, from.netns.Name(), err)
		}
		if response.Status != http.StatusOK {
			return r, fmt.Errorf("asking %s from %s: status %d", vip, from.netns.Name(), response.Status)
		}
		*from.body = response.Body
	}
	own := node.V4
	if vip.Is6() {
		own = node.V6
	}
	for _, port := range nodePorts {
		if e.opens(ctx, vip, port) {
			r.OpenPorts = append(r.OpenPorts, port)
		}
		if e.opens(ctx, own, port) {
			r.OwnPorts = append(r.OwnPorts, port)
		}
	}
	return r, nil
}

// opens says whether the client gets a connection within half a second: dropped packets mean that it never does.
func (e *Env) opens(ctx context.Context, addr netip.Addr, port int) bool {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	conn, err := e.Client.DialContext(ctx, "tcp", netip.AddrPortFrom(addr, uint16(port)).String())
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = io.ReadAll(conn)
	return err == nil
}

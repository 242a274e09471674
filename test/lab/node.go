package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Node is one node of the cluster: a host with one NIC, on which a kubelet (kwok)
// and a kube-proxy run and an announcer may, and a namespace with its pods.
type Node struct {
	*Host
	// Kubelet, Proxy and Announcer are the node's processes. Announcer is nil in
	// a cluster without our components.
	Kubelet, Proxy, Announcer *Process
	// Second is the node's NIC on the second segment; nil in a lab without.
	Second *Second
	// PodsV4 and PodsV6 are the node's pod ranges; all of their addresses answer.
	PodsV4, PodsV6 netip.Prefix

	index    int
	pods     *Netns
	stateDir string
	kube     kubernetes.Interface
	numbers  *numbers

	mu      sync.Mutex
	backend *backend
	// resume holds what ran when the power went.
	resume []*Process
}

// fakeLabel marks nodes without a namespace.
const fakeLabel = "lab.evenkeel.io/fake"

// podsNIC is the node's end of the link to its pods. It has a name that CNI plugins give, so that the node has one NIC for VIPs.
const podsNIC = "cni0"

func newNode(ctx context.Context, index int, second *Second, dir string, numbers *numbers) (*Node, error) {
	name := nodeName(index)
	v4, v6 := podCIDRs(index)
	ns := &Netns{name: name, handle: -1}
	n := &Node{
		Host:     &Host{Netns: ns, V4: host4(SegmentV4, nodeHost+index).Addr(), V6: host6(SegmentV6, nodeHost+index).Addr()},
		Second:   second,
		PodsV4:   v4,
		PodsV6:   v6,
		index:    index,
		pods:     &Netns{name: name + "-pods", handle: -1},
		stateDir: filepath.Join(dir, "state", name),
		numbers:  numbers,
	}
	return n, n.assemble(ctx)
}

// assemble makes the node's namespaces, links, routes and backend.
func (n *Node) assemble(ctx context.Context) error {
	if err := os.MkdirAll(n.stateDir, 0o755); err != nil {
		return fmt.Errorf("making the state folder of %s: %w", n.name, err)
	}
	if err := n.create(); err != nil {
		return err
	}
	if err := n.pods.create(); err != nil {
		return err
	}
	// Before the links: IPv6 addresses of a forwarding host have no link-local
	// routers to wait for.
	if err := n.forward(); err != nil {
		return err
	}
	if err := connect(n.Netns, podsNIC, n.pods, nic); err != nil {
		return err
	}
	if err := n.setUp(podsNIC, podLinkNodeV4, podLinkNodeV6); err != nil {
		return err
	}
	if err := n.pods.setUp(nic, podLinkPodsV4, podLinkPodsV6); err != nil {
		return err
	}
	routes := append(defaultRoutes(podLinkNodeV4.Addr(), podLinkNodeV6.Addr()),
		route{dst: n.PodsV4, dev: "lo", local: true}, route{dst: n.PodsV6, dev: "lo", local: true})
	if err := n.pods.addRoutes(routes...); err != nil {
		return err
	}
	b, err := startBackend(ctx, n.pods, n.name)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.backend = b
	n.mu.Unlock()
	if err := n.numbers.assign(n); err != nil {
		return err
	}
	if err := errors.Join(n.join(nodeHost+n.index), n.joinSecond()); err != nil {
		return err
	}
	return n.addRoutes(
		route{dst: n.PodsV4, via: podLinkPodsV4.Addr(), dev: podsNIC},
		route{dst: n.PodsV6, via: podLinkPodsV6.Addr(), dev: podsNIC},
	)
}

// routePods leads to the pods of another node.
func (n *Node) routePods(other *Node) error {
	return n.addRoutes(
		route{dst: other.PodsV4, via: other.V4, dev: nic},
		route{dst: other.PodsV6, via: other.V6, dev: nic},
	)
}

// stopBackend ends the node's pods.
func (n *Node) stopBackend() error {
	n.mu.Lock()
	b := n.backend
	n.backend = nil
	n.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.stop()
}

// StartKubelet starts the kubelet as a new boot would.
func (n *Node) StartKubelet(ctx context.Context) error {
	// kwok takes the node's lease only from itself or when it has run out; a real
	// kubelet's identity is the node's name and it goes straight on.
	err := n.kube.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, n.name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("dropping the lease of %s: %w", n.name, err)
	}
	return n.Kubelet.Start()
}

// object is the node's Node object, as its kubelet would register it.
func (n *Node) object(pods int) *corev1.Node {
	return nodeObject(n.name, pods, []netip.Prefix{n.PodsV4, n.PodsV6}, []netip.Addr{n.V4, n.V6}, nil)
}

func nodeObject(name string, pods int, cidrs []netip.Prefix, addresses []netip.Addr, labels map[string]string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("32"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   *resource.NewQuantity(int64(pods), resource.DecimalSI),
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
			},
		},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}
	for k, v := range labels {
		node.Labels[k] = v
	}
	for _, p := range cidrs {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, p.String())
	}
	if len(cidrs) > 0 {
		node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
	}
	for _, a := range addresses {
		node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a.String()})
	}
	node.Status.Addresses = append(node.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	return node
}

// register creates a Node object with its status.
func register(ctx context.Context, kube kubernetes.Interface, node *corev1.Node) error {
	created, err := kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("registering %s: %w", node.Name, err)
	}
	if err == nil && len(created.Status.Addresses) == 0 {
		return errors.New("the API server dropped the status of a new Node")
	}
	return nil
}

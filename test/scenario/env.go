// Package scenario is what the end-to-end tests, the benchmarks and the demo do with a lab: each scenario runs against a real
// cluster and returns what it measured. Tests judge that, benchmarks print it.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/test/lab"
)

// App is the label of the backends that every Service of a scenario selects.
const App = "web"

// LogsEnv names the environment variable with a folder that receives the logs of a lab's programs and its audit log.
const LogsEnv = "EVENKEEL_LAB_LOGS"

// ControlPlaneEnv and DatastoreEnv name environment variables that run a scenario on another control plane: a folder with its
// binaries, and "kine" for SQLite behind kine, as in K3s. hack/skew.sh makes such folders.
const (
	ControlPlaneEnv = "EVENKEEL_LAB_CONTROL_PLANE"
	DatastoreEnv    = "EVENKEEL_LAB_DATASTORE"
)

// Env is a lab with Evenkeel installed, a pool and backends on every node.
type Env struct {
	*lab.Cluster
	// VIPs speaks evenkeel.io/v1alpha1 as an administrator.
	VIPs *rest.RESTClient
	// Standbys is how many each VIP of the pools is to have, as far as there are nodes.
	Standbys int
	// SettleAtMost is what standbys get before a loss, since the last change, to be where it comes out evenly; 10 s as Start
	// leaves it.
	SettleAtMost time.Duration

	foreign *lab.Foreign
}

// Start brings up a lab with the shipped manifests and the binaries in bin/, and gives it a pool of 90 addresses of each
// family, whose VIPs have one standby.
func Start(ctx context.Context, o lab.Options) (*Env, error) { return StartGuarded(ctx, o, 1) }

// StartGuarded is Start with another number of standbys.
func StartGuarded(ctx context.Context, o lab.Options, standbys int) (*Env, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	if o.Logs == "" {
		o.Logs = os.Getenv(LogsEnv)
	}
	if o.ControlPlane == "" {
		o.ControlPlane = os.Getenv(ControlPlaneEnv)
	}
	if o.Datastore == "" {
		o.Datastore = os.Getenv(DatastoreEnv)
	}
	o.Manifests = filepath.Join(root, "manifests", "base")
	o.Components = filepath.Join(root, "bin")
	c, err := lab.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	e := &Env{Cluster: c, Standbys: standbys, SettleAtMost: 10 * time.Second}
	if e.VIPs, err = v1alpha1.NewRESTClient(c.Config); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if err := e.prepare(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return e, nil
}

// usualPool has the addresses of most VIPs.
const usualPool = "segment"

func (e *Env) prepare(ctx context.Context) error {
	if err := e.CreatePool(ctx, usualPool, "192.0.2.10-192.0.2.99", "2001:db8::10-2001:db8::99"); err != nil {
		return err
	}
	if len(e.Nodes) == 0 {
		return nil
	}
	if err := e.CreateBackends(ctx, App, e.Nodes...); err != nil {
		return err
	}
	return e.announcersReport(ctx)
}

// announcersReport returns when every node's announcer has reported its NIC and a healthy data plane.
func (e *Env) announcersReport(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		var nodes v1alpha1.VIPNodeList
		if err := e.VIPs.Get().Resource("vipnodes").Do(ctx).Into(&nodes); err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes.Items {
			healthy := false
			for _, c := range n.Status.Conditions {
				healthy = healthy || c.Type == v1alpha1.NodeDataPlaneHealthy && c.Status == metav1.ConditionTrue
			}
			if healthy && len(n.Status.Interfaces) > 0 {
				ready++
			}
		}
		if ready < len(e.Nodes) {
			return fmt.Errorf("%d of %d announcers have reported a NIC and a healthy data plane", ready, len(e.Nodes))
		}
		return nil
	})
}

// CreatePool makes a VIPPool whose VIPs have the Env's number of standbys. They aren't evened out, so that nothing moves by itself in
// what is measured: SetRebalance changes that.
func (e *Env) CreatePool(ctx context.Context, name string, addresses ...string) error {
	standbys := int32(e.Standbys)
	pool := &v1alpha1.VIPPool{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPPool"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.VIPPoolSpec{
			Addresses: addresses, Standbys: &standbys, Rebalance: &v1alpha1.RebalancePolicy{Mode: v1alpha1.RebalanceOff},
		},
	}
	if err := e.VIPs.Post().Resource("vippools").Body(pool).Do(ctx).Error(); err != nil {
		return fmt.Errorf("creating pool %s: %w", name, err)
	}
	return nil
}

// SetStandbys changes how many standbys the VIPs of the usual pool have, and returns once they have as many.
func (e *Env) SetStandbys(ctx context.Context, standbys int) error {
	patch := fmt.Sprintf(`{"spec":{"standbys":%d}}`, standbys)
	err := e.VIPs.Patch(types.MergePatchType).Resource("vippools").Name(usualPool).Body([]byte(patch)).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("giving VIPs %d standbys: %w", standbys, err)
	}
	e.Standbys = standbys
	return e.Whole(ctx)
}

// DeletePool deletes a VIPPool.
func (e *Env) DeletePool(ctx context.Context, name string) error {
	if err := e.VIPs.Delete().Resource("vippools").Name(name).Do(ctx).Error(); err != nil {
		return fmt.Errorf("deleting pool %s: %w", name, err)
	}
	return nil
}

// Options describes a Service of a scenario: our class, and the backends that Start made.
func Options(o lab.ServiceOptions) lab.ServiceOptions {
	o.App, o.Class = App, placeholder.DefaultLoadBalancerClass
	return o
}

// ListVIPs returns all VIP objects by name.
func (e *Env) ListVIPs(ctx context.Context) (map[string]v1alpha1.VIP, error) {
	var list v1alpha1.VIPList
	if err := e.VIPs.Get().Resource("vips").Do(ctx).Into(&list); err != nil {
		return nil, fmt.Errorf("listing VIPs: %w", err)
	}
	byName := map[string]v1alpha1.VIP{}
	for _, vip := range list.Items {
		byName[vip.Name] = vip
	}
	return byName, nil
}

// Node returns a node by its name.
func (e *Env) Node(name string) (*lab.Node, error) {
	for _, n := range e.Nodes {
		if n.Name() == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %q", name)
}

// Placements returns which node each VIP's active placeholder is bound to, by the VIP's name; placeholders that end are left
// out, those that wait have an empty node.
func (e *Env) Placements(ctx context.Context) (map[string]string, error) {
	pods, err := e.Kube.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: placeholder.LabelVIP})
	if err != nil {
		return nil, fmt.Errorf("listing placeholders: %w", err)
	}
	placements := map[string]string{}
	for _, pod := range pods.Items {
		if !placeholder.Ended(&pod) && placeholder.RoleOf(&pod) == placeholder.Active {
			placements[pod.Labels[placeholder.LabelVIP]] = pod.Spec.NodeName
		}
	}
	return placements, nil
}

// Announced waits until the API says that each of the Services has all its addresses announced, and returns these by Service.
func (e *Env) Announced(ctx context.Context, services ...string) (map[string][]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	addresses := map[string][]netip.Addr{}
	err := lab.Eventually(ctx, func(ctx context.Context) error {
		list, err := e.Kube.CoreV1().Services("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		byName := map[string]*corev1.Service{}
		for i := range list.Items {
			byName[list.Items[i].Name] = &list.Items[i]
		}
		for _, name := range services {
			service, ok := byName[name]
			if !ok {
				return fmt.Errorf("there is no Service %s", name)
			}
			if !serviceAnnounced(service) {
				return fmt.Errorf("service %s is not announced: %+v", name, service.Status.Conditions)
			}
			addresses[name] = lab.VIPs(service)
		}
		return nil
	})
	return addresses, err
}

func serviceAnnounced(service *corev1.Service) bool {
	for _, c := range service.Status.Conditions {
		if c.Type == v1alpha1.ServiceAnnounced {
			return c.Status == metav1.ConditionTrue && len(lab.VIPs(service)) >= len(service.Spec.IPFamilies)
		}
	}
	return false
}

// moduleRoot finds the repository from the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("this must run inside the repository: no go.mod above the working directory")
		}
		dir = parent
	}
}

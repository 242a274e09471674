package lab

import (
	"errors"
	"fmt"
	"io"

	"evenkeel.io/evenkeel/test/lab/nickind"
)

// Options of Start.
type Options struct {
	// Nodes is the number of real nodes: namespaces with a kube-proxy. 3 by default,
	// at most 129. -1 is none.
	Nodes int
	// FakeNodes is the number of nodes that are only Node objects under a kwok:
	// for placing many pods. They are called fake-1 and so on.
	FakeNodes int
	// PodsPerNode is each node's pod capacity; 250 by default.
	PodsPerNode int
	// SecondNICs give every node a NIC on a second segment, of these kinds in turn; none by default. See nickind.Kind.Supported.
	SecondNICs []nickind.Kind
	// ProxyMode is kube-proxy's; NFTables by default.
	ProxyMode ProxyMode
	// Datastore is "etcd", the default, or "kine": SQLite behind kine, as in K3s. kine's
	// binary is expected in ControlPlane, as package binaries doesn't build it.
	Datastore string
	// ControlPlane is a folder with the control plane's binaries, for another
	// version than the one that package binaries builds.
	ControlPlane string
	// ControlPlaneArgs adds arguments by the binary's name; a later flag wins.
	ControlPlaneArgs map[string][]string

	// Manifests is a kustomization to apply, like manifests/base. Its workloads
	// are deleted again: the lab runs their programs itself.
	Manifests string
	// Components is a folder with evenkeel-scheduler, evenkeel-controller and
	// evenkeel-announcer. With it they are started, under the service accounts
	// that Manifests bring.
	Components string
	// Run names the components to start; all by default.
	Run []string
	// ComponentArgs adds arguments by the binary's name, ComponentEnv variables
	// ("NAME=value").
	ComponentArgs, ComponentEnv map[string][]string

	// PluginArgs adds to the arguments of the scheduler's plugins, by the plugin's name, in the configuration that Manifests bring:
	// {"VIPLoad": {"criteria": []any{"Traffic"}}}.
	PluginArgs map[string]map[string]any

	// APIRelay puts a relay between our components and the API server: Cluster.API, which can slow it down.
	APIRelay bool

	// Nice is the priority of the cluster's programs but the announcers, as nice(1) counts. Above 0, announcers, clients and backends
	// come before them on the cores that all share here: in reality control planes, and each node, have cores of their own.
	Nice int

	// KubeScheduler also runs the upstream scheduler, as default-scheduler.
	KubeScheduler bool

	// Logs is a folder that receives the processes' logs when the cluster is
	// closed; they are lost by default.
	Logs string
	// Progress gets a line per step; none by default.
	Progress io.Writer
}

func (o *Options) complete() error {
	switch {
	case o.Nodes == 0:
		o.Nodes = 3
	case o.Nodes < 0:
		o.Nodes = 0
	}
	if o.Nodes > maxNodes {
		return fmt.Errorf("nodes: %d are more than the %d that the segment has addresses for (FakeNodes needs none)", o.Nodes, maxNodes)
	}
	if o.PodsPerNode == 0 {
		o.PodsPerNode = 250
	}
	if o.ProxyMode == "" {
		o.ProxyMode = NFTables
	}
	if o.ProxyMode != NFTables && o.ProxyMode != IPTables {
		return fmt.Errorf("proxy mode %q: want %s or %s", o.ProxyMode, NFTables, IPTables)
	}
	switch {
	case o.Datastore == "":
		o.Datastore = Etcd
	case o.Datastore != Etcd && o.Datastore != Kine:
		return fmt.Errorf("datastore %q: want %s or %s", o.Datastore, Etcd, Kine)
	}
	if o.Components != "" && o.Manifests == "" {
		return errors.New("components need manifests: these bring their service accounts and rights")
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return nil
}

// Datastores.
const (
	Etcd = "etcd"
	Kine = "kine"
)

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
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const apiPort = "6443"

// controlPlane is etcd, the API server and the controller manager in a namespace
// of their own.
type controlPlane struct {
	ns    *Netns
	pki   *pki
	audit string

	etcd, apiserver, controllers *Process
	// scheduler is the upstream one, started only for comparisons.
	scheduler *Process
}

// managementURL reaches the API server past the segment, from the lab's own
// namespace; nodeURL over the segment, from everywhere else.
var (
	managementURL = "https://" + net.JoinHostPort(managementServer.Addr().String(), apiPort)
	nodeURL       = "https://" + net.JoinHostPort(host4(SegmentV4, controlPlaneHost).Addr().String(), apiPort)
	localURL      = "https://127.0.0.1:" + apiPort
	// slowNodeURL and slowLocalURL reach it through an APIRelay.
	slowNodeURL  = "https://" + net.JoinHostPort(host4(SegmentV4, controlPlaneHost).Addr().String(), slowPort)
	slowLocalURL = "https://127.0.0.1:" + slowPort
)

// auditPolicy records one line per request, when it is complete; a watch is
// recorded when it starts.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata}
`

// newControlPlane makes the namespace, the keys and the processes; it starts
// nothing.
func newControlPlane(dir, bin, datastore string, nice int, extra map[string][]string) (*controlPlane, error) {
	cp := &controlPlane{audit: filepath.Join(dir, "audit.log")}
	var err error
	if cp.ns, err = newNetns("control-plane"); err != nil {
		return nil, err
	}
	if _, err := cp.ns.plug(controlPlaneHost); err != nil {
		return nil, err
	}
	if err := connect(nil, "management", cp.ns, "management"); err != nil {
		return nil, err
	}
	if err := cp.ns.setUp("management", managementServer); err != nil {
		return nil, err
	}
	if err := raiseManagement(); err != nil {
		return nil, err
	}
	if cp.pki, err = newPKI(filepath.Join(dir, "pki")); err != nil {
		return nil, err
	}
	ips := []net.IP{
		net.IPv4(127, 0, 0, 1), managementServer.Addr().AsSlice(), serviceHost.AsSlice(),
		host4(SegmentV4, controlPlaneHost).Addr().AsSlice(), host6(SegmentV6, controlPlaneHost).Addr().AsSlice(),
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	if err := cp.pki.server("kube-apiserver", ips, names); err != nil {
		return nil, err
	}
	policy := filepath.Join(dir, "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return nil, fmt.Errorf("writing the audit policy: %w", err)
	}
	manager, err := cp.pki.client("kube-controller-manager", "system:kube-controller-manager", nil, localURL)
	if err != nil {
		return nil, err
	}
	logs := filepath.Join(dir, "logs")
	process := func(name string, args ...string) *Process {
		args = append([]string{filepath.Join(bin, name)}, args...)
		// Small heaps make Go collect all the time; two cores have better things to do, and there is memory.
		return newProcess(logs, name, cp.ns, nice, append(args, extra[name]...), "GOGC=400")
	}
	cp.etcd = process("etcd",
		"--name=lab", "--data-dir="+filepath.Join(dir, "etcd"),
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=lab=http://127.0.0.1:2380",
		// The data lives on a tmpfs: there is no disk to wait for. A lone member
		// needs no second to elect itself either.
		"--unsafe-no-fsync", "--heartbeat-interval=10", "--election-timeout=100",
		"--log-level=warn",
	)
	if datastore == Kine {
		// As K3s runs it, but for the place of the file: a tmpfs, as for etcd.
		cp.etcd = process("kine",
			"--endpoint=sqlite://"+filepath.Join(dir, "kine.db")+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(30000)&_pragma=synchronous(OFF)&_txlock=immediate",
			"--listen-address=127.0.0.1:2379", "--metrics-bind-address=0",
		)
	}
	cp.apiserver = process("kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--secure-port="+apiPort,
		"--advertise-address="+host4(SegmentV4, controlPlaneHost).Addr().String(),
		"--service-cluster-ip-range="+ServicesV4.String()+","+ServicesV6.String(),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file="+cp.pki.file("ca.crt"),
		"--tls-cert-file="+cp.pki.file("kube-apiserver.crt"), "--tls-private-key-file="+cp.pki.file("kube-apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+cp.pki.file("tokens.key"), "--service-account-signing-key-file="+cp.pki.file("tokens.key"),
		"--audit-log-path="+cp.audit, "--audit-policy-file="+policy,
		// A rotated file would be lost to those who count requests.
		"--audit-log-maxsize=100000",
		// The lab stops and starts it on purpose, and is in a hurry.
		"--shutdown-delay-duration=0s", "--allow-privileged=true", "--profiling=false", "--event-ttl=24h",
	)
	cp.controllers = process("kube-controller-manager",
		"--kubeconfig="+manager, "--authentication-kubeconfig="+manager, "--authorization-kubeconfig="+manager,
		"--leader-elect=false", "--use-service-account-credentials=true", "--bind-address=127.0.0.1",
		"--root-ca-file="+cp.pki.file("ca.crt"), "--service-account-private-key-file="+cp.pki.file("tokens.key"),
		// Nothing here reads Endpoints, which are deprecated since Kubernetes 1.33; EndpointSlices are written. Backends
		// belong to DaemonSets so that they stay where they are when a node is drained, and the lab is their controller.
		"--controllers=*,-endpoints-controller,-daemonset-controller",
		"--cluster-cidr="+PodsV4.String()+","+PodsV6.String(),
		"--service-cluster-ip-range="+ServicesV4.String()+","+ServicesV6.String(), "--allocate-node-cidrs=false",
		// Endpoints of a Service are to follow at once, as in an idle cluster.
		"--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-service-endpoint-syncs=10",
	)
	scheduler, err := cp.pki.client("kube-scheduler", "system:kube-scheduler", nil, localURL)
	if err != nil {
		return nil, err
	}
	cp.scheduler = process("kube-scheduler",
		"--kubeconfig="+scheduler, "--authentication-kubeconfig="+scheduler, "--authorization-kubeconfig="+scheduler,
		"--leader-elect=false", "--bind-address=127.0.0.1",
		// As many requests as evenkeel-scheduler's built-in profile may make: a comparison of placing, not of limits.
		"--kube-api-qps=500", "--kube-api-burst=1000",
	)
	return cp, nil
}

// start starts all three and returns when the API server is ready.
func (cp *controlPlane) start(ctx context.Context) error {
	if err := cp.etcd.Start(); err != nil {
		return err
	}
	// The API server waits for its datastore by itself.
	if err := cp.startAPI(ctx); err != nil {
		if !cp.etcd.Running() {
			return errors.Join(cp.etcd.failure(errors.New("it ended")), err)
		}
		return err
	}
	return cp.controllers.Start()
}

// startAPI starts the API server and waits until it is ready.
func (cp *controlPlane) startAPI(ctx context.Context) error {
	if err := cp.apiserver.Start(); err != nil {
		return err
	}
	transport := &http.Transport{
		DialContext: cp.ns.DialContext,
		// /readyz is open to everyone and only says ok.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	return cp.apiserver.until(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, localURL+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz says %s", resp.Status)
		}
		return nil
	})
}

// admin returns a client configuration with all rights, for the lab's own
// namespace, and its kubeconfig file.
func (cp *controlPlane) admin() (*rest.Config, string, error) {
	path, err := cp.pki.client("admin", "lab-admin", []string{"system:masters"}, managementURL)
	if err != nil {
		return nil, "", err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	// client-go keeps transports by the names of files: a later cluster of this
	// program, with other keys under the same names, would get this one's.
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, "", fmt.Errorf("reading the keys: %w", err)
	}
	config.CAFile, config.CertFile, config.KeyFile = "", "", ""
	config.QPS = -1
	return config, path, nil
}

func newClient(config *rest.Config) (kubernetes.Interface, error) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return client, nil
}

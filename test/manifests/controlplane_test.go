package manifests

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcmd "k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"evenkeel.io/evenkeel/test/lab/binaries"
)

// startTimeout is how long a control plane may take to answer. It takes 5 s on two idle cores.
const startTimeout = 5 * time.Minute

// adminToken is known to the API server as a member of system:masters.
const adminToken = "admin-of-a-throw-away-cluster"

// controlPlane is etcd, kube-apiserver and kube-controller-manager as processes of this machine, on loopback only.
type controlPlane struct {
	bin        string // folder of the programs
	dir        string // folder of everything they write
	admin      *rest.Config
	kubeconfig string
	processes  []*process
}

type process struct {
	name string
	cmd  *exec.Cmd
	log  bytes.Buffer
	done chan struct{} // closed after Wait
	err  error         // valid once done is closed
}

// startControlPlane returns when the API server is ready. The caller must be locked to its thread and that thread must live
// as long as the test process: the kernel ends the programs with it, however the test process ends.
func startControlPlane(ctx context.Context) (*controlPlane, error) {
	bin, err := programs(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "evenkeel-manifests-")
	if err != nil {
		return nil, err
	}
	c := &controlPlane{bin: bin, dir: dir}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func programs(ctx context.Context) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	return binaries.Ensure(ctx, binaries.Options{Dir: "../..", Progress: os.Stderr})
}

func (c *controlPlane) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	socket := "unix://" + filepath.Join(c.dir, "etcd.sock")
	if _, err := c.run("etcd",
		"--data-dir="+filepath.Join(c.dir, "etcd"), "--listen-client-urls="+socket, "--advertise-client-urls="+socket,
		"--listen-peer-urls=unix://"+filepath.Join(c.dir, "peer.sock"), "--unsafe-no-fsync", "--log-level=warn"); err != nil {
		return err
	}
	if err := c.writeFiles(); err != nil {
		return err
	}
	// A port that is free now may be taken by the time the server listens: another try takes another one.
	for {
		again, err := c.startAPIServer(ctx, socket)
		if err == nil {
			break
		}
		if !again {
			return err
		}
	}
	_, err := c.run("kube-controller-manager", "--kubeconfig="+c.kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--use-service-account-credentials=false", "--service-account-private-key-file="+c.path("sa.key"),
		"--controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller,serviceaccount-token-controller,"+
			"legacy-serviceaccount-token-cleaner-controller,validatingadmissionpolicy-status-controller")
	return err
}

func (c *controlPlane) path(name string) string { return filepath.Join(c.dir, name) }

func (c *controlPlane) writeFiles() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return errors.Join(
		os.WriteFile(c.path("sa.key"), block, 0o600),
		os.WriteFile(c.path("tokens.csv"), []byte(adminToken+",admin,1,system:masters\n"), 0o600))
}

// startAPIServer says with again whether another try makes sense: the port was taken.
func (c *controlPlane) startAPIServer(ctx context.Context, etcd string) (again bool, err error) {
	port, err := freePort()
	if err != nil {
		return false, err
	}
	server, err := c.run("kube-apiserver",
		"--etcd-servers="+etcd, "--secure-port="+strconv.Itoa(port), "--bind-address=127.0.0.1",
		"--cert-dir="+c.path("certs"), "--token-auth-file="+c.path("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://evenkeel.test", "--service-account-key-file="+c.path("sa.key"),
		"--service-account-signing-key-file="+c.path("sa.key"), "--service-cluster-ip-range=10.96.0.0/16",
		// Clusters that check owner references are the stricter ones: what works here works everywhere.
		"--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
		"--allow-privileged", "--endpoint-reconciler-type=none")
	if err != nil {
		return false, err
	}
	c.admin = &rest.Config{
		Host: "https://127.0.0.1:" + strconv.Itoa(port), BearerToken: adminToken,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1,
	}
	if err := c.writeKubeconfig(); err != nil {
		return false, err
	}
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return false, err
	}
	err = wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		select {
		case <-server.done:
			return false, fmt.Errorf("starting kube-apiserver: %w\n%s", server.err, tail(server.log.String()))
		default:
		}
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil, nil
	})
	if err == nil {
		return false, nil
	}
	select {
	case <-server.done:
		return strings.Contains(server.log.String(), "address already in use"), err
	default: // still running, so its log may not be read yet
		return false, fmt.Errorf("waiting for kube-apiserver: %w", err)
	}
}

func (c *controlPlane) writeKubeconfig() error {
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: c.admin.Host, InsecureSkipTLSVerify: true}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: adminToken}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	config.CurrentContext = "test"
	c.kubeconfig = c.path("kubeconfig")
	return clientcmd.WriteToFile(*config, c.kubeconfig)
}

// run starts a program of the control plane.
func (c *controlPlane) run(name string, args ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{}), cmd: exec.Command(filepath.Join(c.bin, name), args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	c.processes = append(c.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// stop ends the programs, last started first, and removes what they wrote.
func (c *controlPlane) stop() error {
	for i := len(c.processes) - 1; i >= 0; i-- {
		p := c.processes[i]
		_ = p.cmd.Process.Kill() // it may have ended already
		<-p.done
	}
	return os.RemoveAll(c.dir)
}

// kubectl runs the real one as admin and returns what it printed.
func (c *controlPlane) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig=" + c.kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+c.dir) // its discovery cache
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("running kubectl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

package manifests

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apiruntime "k8s.io/apimachinery/pkg/runtime"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// base is the kustomization that people apply.
const base = "../../manifests/base"

// settleTimeout bounds the waiting for what API server and controllers do in the background.
const settleTimeout = 3 * time.Minute

// cluster has manifests/base applied. TestMain owns it.
var cluster *controlPlane

func TestMain(m *testing.M) {
	runtime.LockOSThread() // see startControlPlane
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	ctx := context.Background()
	var err error
	if cluster, err = startControlPlane(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cluster.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if err := install(ctx, cluster); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// install applies manifests/base as people do, and waits until the CRDs are served.
func install(ctx context.Context, c *controlPlane) error {
	if _, err := c.kubectl(ctx, "apply", "-k", base); err != nil {
		return err
	}
	_, err := c.kubectl(ctx, "wait", "--for=condition=Established", "--timeout="+settleTimeout.String(),
		"crd/vips.evenkeel.io", "crd/vippools.evenkeel.io", "crd/vipnodes.evenkeel.io", "crd/vipnodetraffics.evenkeel.io")
	if err != nil {
		return err
	}
	// Pods aren't admitted before their namespace has its default service account, which a controller makes.
	_, err = c.kubectl(ctx, "wait", "--for=create", "--timeout="+settleTimeout.String(), "-n", ns, "serviceaccount/default")
	if err != nil {
		return err
	}
	admin, err := client.New(c.admin, client.Options{Scheme: scheme()})
	if err != nil {
		return err
	}
	// Established says that the names are accepted; the first lists may still be answered with 404.
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, settleTimeout, true, func(ctx context.Context) (bool, error) {
		for _, list := range []client.ObjectList{&v1alpha1.VIPList{}, &v1alpha1.VIPPoolList{}, &v1alpha1.VIPNodeList{}} {
			if err := admin.List(ctx, list); err != nil {
				return false, nil
			}
		}
		return true, nil
	})
}

func scheme() *apiruntime.Scheme {
	s := apiruntime.NewScheme()
	for _, add := range []func(*apiruntime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err)
		}
	}
	return s
}

// clientFor returns a client that talks as the config says.
func clientFor(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// adminClient may do everything.
func adminClient(t *testing.T) client.Client {
	t.Helper()
	return clientFor(t, cluster.admin)
}

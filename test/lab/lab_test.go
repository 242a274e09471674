package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) {
	Enter()
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	if part := os.Getenv(exitEnv); part != "" {
		os.Exit(program(part))
	}
	os.Exit(m.Run())
}

// limit is what a slow machine may take for anything in these tests.
const limit = 4 * time.Minute

func start(t *testing.T, o Options) (context.Context, *Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	o.Progress = t.Output()
	c, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return ctx, c
}

// TestCluster goes through everything that a cluster offers, in one, because
// starting one takes seconds.
func TestCluster(t *testing.T) {
	ctx, c := start(t, Options{Nodes: 3, FakeNodes: 5, Manifests: manifests(t)})

	t.Run("the API server tells its version", func(t *testing.T) {
		v, err := c.Kube.Discovery().ServerVersion()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(v.GitVersion, "v1.") {
			t.Errorf("version %s: want v1.x", v.GitVersion)
		}
	})
	if err := c.CreateBackends(ctx, "web", c.Nodes...); err != nil {
		t.Fatal(err)
	}
	t.Run("kube-proxies serve a node port of both families, also behind the router", func(t *testing.T) { servesNodePort(ctx, t, c) })
	t.Run("an address is answered for by the machine that has it", func(t *testing.T) { answersForItself(ctx, t, c) })
	t.Run("addresses are recorded with their owners", func(t *testing.T) { recordsAddresses(ctx, t, c) })
	t.Run("an address that moves is seen at both nodes", func(t *testing.T) { seesTakeover(ctx, t, c) })
	t.Run("a cut port is silent, with and without carrier", func(t *testing.T) { cutsPorts(ctx, t, c) })
	t.Run("a paused machine is silent and goes on as if nothing had been", func(t *testing.T) { pauses(ctx, t, c) })
	t.Run("a split segment has two sides that don't hear each other", func(t *testing.T) { splits(ctx, t, c) })
	t.Run("ports are silent now and then", func(t *testing.T) { flickers(ctx, t, c) })
	t.Run("a host's frames are lost and late", func(t *testing.T) { impairs(ctx, t, c) })
	t.Run("a port drops ARP for addresses it doesn't know", func(t *testing.T) { filtersARP(ctx, t, c) })
	t.Run("a switch answers for hosts behind another one and passes no announcement on", func(t *testing.T) { suppresses(ctx, t, c) })
	t.Run("frames are counted at the ports", func(t *testing.T) { countsFrames(ctx, t, c) })
	t.Run("a client asks steadily, also while the cores are busy", func(t *testing.T) { asksSteadily(ctx, t, c) })
	t.Run("a foreign machine answers late", func(t *testing.T) { foreignAnswers(ctx, t, c) })
	t.Run("flushed addresses come back behind the others", func(t *testing.T) { flushes(ctx, t, c) })
	t.Run("the audit log counts an announcer's requests, and RBAC refuses the rest", func(t *testing.T) { audits(ctx, t, c) })
	t.Run("a node loses its power and returns", func(t *testing.T) { losesPower(ctx, t, c) })
	t.Run("a relay slows the API server down", func(t *testing.T) { slowsAPI(ctx, t, c) })
	t.Run("the API server stops and returns with its data", func(t *testing.T) { stopsAPI(ctx, t, c) })
}

func manifests(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../manifests/base")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func within(ctx context.Context, t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := Eventually(ctx, check); err != nil {
		t.Error(err)
	}
}

// expect is nil once host gets the URL from one of the nodes.
func expect(host *Netns, url string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		r, err := host.Get(ctx, url)
		if err != nil {
			return err
		}
		if r.Status != http.StatusOK || !strings.HasPrefix(r.Body, "node-") {
			return fmt.Errorf("%s says %d %q", url, r.Status, r.Body)
		}
		return nil
	}
}

func servesNodePort(ctx context.Context, t *testing.T, c *Cluster) {
	s, err := c.CreateService(ctx, "web", ServiceOptions{
		App: "web", Type: corev1.ServiceTypeNodePort,
		Families: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	port := int(s.Spec.Ports[0].NodePort)
	for _, n := range c.Nodes {
		within(ctx, t, expect(c.Client.Netns, URL(n.V4, port)))
		within(ctx, t, expect(c.Client.Netns, URL(n.V6, port)))
		within(ctx, t, expect(c.Far.Netns, URL(n.V4, port)))
		within(ctx, t, expect(n.Netns, URL(netip.MustParseAddr(s.Spec.ClusterIPs[0]), 80)))
		within(ctx, t, expect(n.Netns, URL(netip.MustParseAddr(s.Spec.ClusterIPs[1]), 80)))
	}
}

func answersForItself(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	for _, a := range []netip.Addr{n.V4, n.V6} {
		answers, err := c.Client.WhoHas(ctx, a, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if len(answers) != 1 || answers[0].MAC.String() != n.MAC.String() {
			t.Errorf("%s: got %v, want one answer by %s", a, answers, n.MAC)
		}
		p, err := c.Client.StartProber(ctx, a, 10*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		within(ctx, t, func(context.Context) error {
			if answered := p.answered(); answered < 20 {
				return fmt.Errorf("%d answers", answered)
			}
			return nil
		})
		r, err := p.Stop()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", a, r)
		if r.Sent-r.Unanswered < 20 {
			t.Errorf("%s: %s, want 20 answers", a, r)
		}
	}
	free := netip.MustParseAddr("192.0.2.10")
	if answers, err := c.Client.WhoHas(ctx, free, 200*time.Millisecond); err != nil || len(answers) != 0 {
		t.Errorf("%s: got %v, %v, want no answer", free, answers, err)
	}
}

// answered counts the answers so far.
func (p *Prober) answered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := report(p.probes)
	return r.Sent - r.Unanswered
}

func recordsAddresses(ctx context.Context, t *testing.T, c *Cluster) {
	rec, err := c.RecordAddresses()
	if err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParsePrefix("192.0.2.20/32")
	a, b := c.Nodes[0], c.Nodes[1]
	for range 2 {
		if err := a.setUp(nic, vip); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.setUp(nic, vip); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{a, b} {
		flushed, err := n.FlushVIPs()
		if err != nil || len(flushed) != 1 || flushed[0] != vip {
			t.Errorf("flushed %v, %v of %s, want %s", flushed, err, n.Name(), vip)
		}
	}
	var holdings []Holding
	within(ctx, t, func(context.Context) error {
		end := time.Now()
		holdings = Holdings(rec.Events(), vip.Addr(), end)
		if len(holdings) != 2 || holdings[0].To.Equal(end) || holdings[1].To.Equal(end) {
			return fmt.Errorf("holdings %v: want two that ended", holdings)
		}
		return nil
	})
	events, err := rec.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if t.Failed() {
		t.Fatalf("events: %v", events)
	}
	if holdings[0].Node != "node-1" || holdings[1].Node != "node-2" || DoubleHeld(holdings) <= 0 {
		t.Errorf("holdings %v: want node-1, then node-2, with both for a while", holdings)
	}
	own := Holdings(events, a.V4, time.Now())
	if len(own) != 1 || own[0].Node != "node-1" {
		t.Errorf("holdings of %s: %v, want node-1 from the beginning", a.V4, own)
	}
}

func audits(ctx context.Context, t *testing.T, c *Cluster) {
	config, err := c.ConfigAs(ctx, announcerName, "node-2")
	if err != nil {
		t.Fatal(err)
	}
	kube, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Truncate(time.Microsecond)
	if _, err := kube.CoreV1().Secrets(Namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an announcer listed secrets: %v", err)
	}
	want := Call{User: Account(announcerName), Node: "node-2", Verb: "list", Resource: "secrets"}
	within(ctx, t, func(context.Context) error {
		requests, err := c.Requests(begin, time.Now())
		if n := Count(requests)[want]; err == nil && n != 1 {
			err = fmt.Errorf("%d requests %v, want 1", n, want)
		}
		return err
	})
}

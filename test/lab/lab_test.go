package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// childEnv makes this test binary a lab that tells its PID and waits to be killed.
const childEnv = "EVENKEEL_LAB_TEST_CHILD"

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

// child starts a small cluster, says so, and waits for its end.
func child() {
	c, err := Start(context.Background(), Options{Nodes: 1})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("ready", c.Nodes[0].V4)
	select {}
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
	t.Run("a foreign machine answers late", func(t *testing.T) { foreignAnswers(ctx, t, c) })
	t.Run("flushed addresses come back behind the others", func(t *testing.T) { flushes(ctx, t, c) })
	t.Run("the audit log counts an announcer's requests, and RBAC refuses the rest", func(t *testing.T) { audits(ctx, t, c) })
	t.Run("a node loses its power and returns", func(t *testing.T) { losesPower(ctx, t, c) })
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

func seesTakeover(ctx context.Context, t *testing.T, c *Cluster) {
	a, b := c.Nodes[0], c.Nodes[1]
	for _, vip := range []netip.Prefix{netip.MustParsePrefix("192.0.2.50/32"), netip.MustParsePrefix("2001:db8::50/128")} {
		asker, err := c.Client.StartAsking([]netip.Addr{vip.Addr(), b.V6}, 5*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range []*Node{a, b} {
			if err := n.setUp(nic, vip); err != nil {
				t.Fatal(err)
			}
			within(ctx, t, func(context.Context) error {
				if seen := asker.Sightings(vip.Addr()); len(seen) != i+1 || seen[i].MAC.String() != n.MAC.String() {
					return fmt.Errorf("%s: seen %v, want %s as number %d", vip, seen, n.MAC, i+1)
				}
				return nil
			})
			if _, err := n.FlushVIPs(); err != nil {
				t.Fatal(err)
			}
		}
		if err := asker.Stop(); err != nil {
			t.Fatal(err)
		}
		if seen := asker.Sightings(b.V6); len(seen) != 1 || seen[0].MAC.String() != b.MAC.String() {
			t.Errorf("%s: seen %v, want %s alone", b.V6, seen, b.MAC)
		}
	}
}

func cutsPorts(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[2]
	for _, how := range []Cut{CarrierLost, CarrierKept} {
		if err := n.CutPort(how); err != nil {
			t.Fatal(err)
		}
		if answers, err := c.Client.WhoHas(ctx, n.V4, 200*time.Millisecond); err != nil || len(answers) != 0 {
			t.Errorf("cut %d: got %v, %v, want no answer", how, answers, err)
		}
		within(ctx, t, func(context.Context) error {
			carrier, err := n.carrier()
			if err == nil && carrier != (how == CarrierKept) {
				err = fmt.Errorf("cut %d: carrier is %t", how, carrier)
			}
			return err
		})
		if err := n.RestorePort(); err != nil {
			t.Fatal(err)
		}
		within(ctx, t, func(ctx context.Context) error {
			answers, err := c.Client.WhoHas(ctx, n.V4, 200*time.Millisecond)
			if err == nil && len(answers) != 1 {
				err = fmt.Errorf("restored after cut %d: answers %v", how, answers)
			}
			return err
		})
	}
}

// carrier reads the state of the host's NIC.
func (h *Host) carrier() (bool, error) {
	var up bool
	err := h.Do(func() error {
		link, err := netlink.LinkByName(nic)
		if err == nil {
			up = link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
		}
		return err
	})
	return up, err
}

func foreignAnswers(ctx context.Context, t *testing.T, c *Cluster) {
	f, err := c.AddForeign()
	if err != nil {
		t.Fatal(err)
	}
	const delay = 100 * time.Millisecond
	for _, target := range []string{"192.0.2.30", "2001:db8::30"} {
		a := netip.MustParseAddr(target)
		if err := f.Answer(a, delay); err != nil {
			t.Fatal(err)
		}
		within(ctx, t, func(ctx context.Context) error {
			answers, err := c.Client.WhoHas(ctx, a, time.Second)
			if err != nil {
				return err
			}
			if len(answers) != 1 || answers[0].MAC.String() != f.MAC.String() || answers[0].After < delay {
				return fmt.Errorf("%s: got %v, want one answer by %s after %s", a, answers, f.MAC, delay)
			}
			return nil
		})
	}
	if err := f.Silence(); err != nil {
		t.Fatal(err)
	}
	if err := f.Bind(netip.MustParseAddr("192.0.2.31")); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error {
		silent, err1 := c.Client.WhoHas(ctx, netip.MustParseAddr("192.0.2.30"), 300*time.Millisecond)
		bound, err2 := c.Client.WhoHas(ctx, netip.MustParseAddr("192.0.2.31"), 300*time.Millisecond)
		if len(silent) != 0 || len(bound) != 1 {
			return fmt.Errorf("silenced: %v, bound: %v, want none and one", silent, bound)
		}
		return errors.Join(err1, err2)
	})
}

func flushes(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	vip := netip.MustParsePrefix("192.0.2.40/32")
	if err := n.setUp(nic, vip); err != nil {
		t.Fatal(err)
	}
	if flushed, err := n.FlushOwn(); err != nil || len(flushed) != 2 {
		t.Fatalf("flushed %v, %v, want the node's two addresses", flushed, err)
	}
	if err := c.RestoreOwn(n); err != nil {
		t.Fatal(err)
	}
	got, err := n.Addresses()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != vip || got[1].Addr() != n.V4 {
		t.Errorf("addresses %v: want %s before %s", got, vip, n.V4)
	}
	if _, err := n.FlushVIPs(); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error { return c.nodeReady(ctx, n.name) })
	s, err := c.Kube.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	within(ctx, t, expect(c.Far.Netns, URL(n.V4, int(s.Spec.Ports[0].NodePort))))
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

func losesPower(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	rec, err := c.RecordAddresses()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.PowerLoss(n); err != nil {
		t.Fatal(err)
	}
	lost := time.Now()
	if n.Kubelet.Running() || n.Proxy.Running() {
		t.Error("processes outlived the power")
	}
	if answers, err := c.Client.WhoHas(ctx, n.V4, 200*time.Millisecond); err != nil || len(answers) != 0 {
		t.Errorf("without power: got %v, %v, want no answer", answers, err)
	}
	if _, err := n.Get(ctx, URL(n.V4, 80)); !errors.Is(err, ErrPoweredOff) {
		t.Errorf("asking from a dead node: got %v, want %v", err, ErrPoweredOff)
	}
	if err := c.PowerOn(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitForNode(ctx, n); err != nil {
		t.Fatal(err)
	}
	// A backend of the dead node is the only one of this Service.
	if err := c.CreateBackends(ctx, "back", n); err != nil {
		t.Fatal(err)
	}
	s, err := c.CreateService(ctx, "back", ServiceOptions{App: "back", Type: corev1.ServiceTypeNodePort})
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range c.Nodes {
		within(ctx, t, expect(c.Client.Netns, URL(other.V4, int(s.Spec.Ports[0].NodePort))))
	}
	events, err := rec.Stop()
	if err != nil {
		t.Fatal(err)
	}
	own := Holdings(events, n.V4, time.Now())
	if len(own) != 2 || DoubleHeld(own) != 0 || own[1].From.Before(lost) {
		t.Errorf("holdings of %s: %v, want one, and another from %s on", n.V4, own, lost)
	}
}

func stopsAPI(ctx context.Context, t *testing.T, c *Cluster) {
	if err := c.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("a stopped API server answered")
	}
	if err := c.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error { return c.nodesReady(ctx, "", 8) })
}

// TestKilled shows that nothing is left of a lab whose program is killed, while
// another one runs beside it on the same machine.
func TestKilled(t *testing.T) {
	ctx, c := start(t, Options{Nodes: 1})
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("the other lab says %q, %v", line, err)
	}
	// Same addresses, same ports, two clusters.
	if line != "ready "+c.Nodes[0].V4.String()+"\n" {
		t.Errorf("the other lab says %q, want the same address as here", line)
	}
	inner := descendants(t, cmd.Process.Pid)
	if len(inner) < 6 {
		t.Errorf("the other lab has processes %v: want a control plane and a node", inner)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	within(ctx, t, func(context.Context) error {
		for _, pid := range inner {
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d of the killed lab lives", pid)
			}
		}
		return nil
	})
	if err := c.nodeReady(ctx, "node-1"); err != nil {
		t.Errorf("the lab that goes on: %v", err)
	}
}

// descendants lists the processes below pid.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, task := range tasks {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, child), descendants(t, child)...)
		}
	}
	return out
}

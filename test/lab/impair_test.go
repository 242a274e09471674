package lab

import (
	"container/heap"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// processState is the letter that /proc has for a process' state.
func processState(pid int) (byte, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(string(data), ") ")
	if !ok || after == "" {
		return 0, fmt.Errorf("no state in %q", data)
	}
	return after[0], nil
}

func impairs(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[1]
	const delay, jitter = 60 * time.Millisecond, 20 * time.Millisecond
	stop, err := c.Impair(n.Host, Impairment{Loss: 0.3, Delay: delay, Jitter: jitter, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Client.StartProber(ctx, n.V4, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(context.Context) error {
		if answered := p.answered(); answered < 100 {
			return fmt.Errorf("%d answers", answered)
		}
		return nil
	})
	seen, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	for _, probe := range p.probes {
		// The way back is not impaired.
		if !probe.answered.IsZero() && probe.answered.Sub(probe.sent) < delay-jitter {
			t.Errorf("a probe was answered after %s, want at least %s", probe.answered.Sub(probe.sent), delay-jitter)
			break
		}
	}
	p.mu.Unlock()
	if lost := float64(seen.Unanswered) / float64(seen.Sent); lost < 0.1 || lost > 0.6 {
		t.Errorf("%s: want about 30 %% lost", seen)
	}
	// Large segments and unfinished checksums of virtual NICs must pass the relay.
	within(ctx, t, func(ctx context.Context) error {
		_, err := n.Get(ctx, "http://"+c.Client.V4.String()+":1/")
		if err == nil || !strings.Contains(err.Error(), "refused") {
			return fmt.Errorf("from behind the relay: %v, want a refused connection", err)
		}
		return nil
	})
	if err := n.CutPort(CarrierKept); err != nil {
		t.Fatal(err)
	}
	deaf(ctx, t, c.Client, n.Host)
	if err := n.RestorePort(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error { return hears(ctx, c.Client, n.Host) })
	within(ctx, t, func(ctx context.Context) error { return c.nodeReady(ctx, n.name) })
}

func TestDelayed(t *testing.T) {
	begin := time.Now()
	var waiting delayed
	for i, ms := range []int{30, 10, 20, 10} {
		heap.Push(&waiting, held{due: begin.Add(time.Duration(ms) * time.Millisecond), sequence: uint64(i)})
	}
	var got []uint64
	for len(waiting) > 0 {
		got = append(got, heap.Pop(&waiting).(held).sequence)
	}
	if fmt.Sprint(got) != "[1 3 2 0]" {
		t.Errorf("frames leave in order %v, want [1 3 2 0]: the first due first, of equals the first that came", got)
	}
}

func slowsAPI(ctx context.Context, t *testing.T, c *Cluster) {
	relay, err := startAPIRelay(ctx, c.ControlPlane)
	if err != nil {
		t.Fatal(err)
	}
	node := c.Nodes[0].Netns
	if err := node.probe(ctx, slowNodeURL+"/readyz"); err != nil {
		t.Errorf("through the relay: %v", err)
	}
	const delay = 300 * time.Millisecond
	relay.SetDelay(delay)
	begin := time.Now()
	// A connection, a TLS handshake and a request: the latter two are round trips of what is relayed.
	if err := node.probe(ctx, slowNodeURL+"/readyz"); err != nil {
		t.Errorf("through the slow relay: %v", err)
	}
	if took := time.Since(begin); took < 2*delay {
		t.Errorf("the request took %s, want at least two delays of %s", took, delay)
	}
	relay.SetDelay(0)
	if err := c.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := node.probe(ctx, slowNodeURL+"/readyz"); err == nil {
		t.Error("a stopped API server answered through the relay")
	}
	if err := c.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error { return node.probe(ctx, slowNodeURL+"/readyz") })
	if err := relay.close(); err != nil {
		t.Errorf("closing the relay: %v", err)
	}
}

func asksSteadily(ctx context.Context, t *testing.T, c *Cluster) {
	s, err := c.Kube.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[0]
	stopBurning := Burn()
	r, err := c.Far.StartRequests([]netip.Addr{n.V4, n.V6}, RequestOptions{Port: int(s.Spec.Ports[0].NodePort), Every: 10 * time.Millisecond, Patience: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for _, a := range []netip.Addr{n.V4, n.V6} {
		within(ctx, t, func(context.Context) error {
			if r.FirstAnswer(a, begin).IsZero() {
				return fmt.Errorf("no answer from %s", a)
			}
			return nil
		})
	}
	stopBurning()
	attempts, err := r.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range attempts {
		if a.Failed != "" || a.Answered.IsZero() || a.Connected.Before(a.Sent) || a.Answered.Before(a.Connected) {
			t.Fatalf("attempt %+v, want it sent, connected and answered in that order", a)
		}
	}
	refused, err := c.Client.StartRequests([]netip.Addr{n.V4}, RequestOptions{Port: 1, Every: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(context.Context) error {
		list := refused.Attempts()
		if len(list) == 0 || !strings.Contains(list[0].Failed, "refused") {
			return fmt.Errorf("attempts at a closed port: %+v", list)
		}
		return nil
	})
	if _, err := refused.Stop(); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Client.Get(ctx, URL(n.V4, int(s.Spec.Ports[0].NodePort))); err != nil || r.Status != http.StatusOK {
		t.Errorf("afterwards: %+v, %v", r, err)
	}
}

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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

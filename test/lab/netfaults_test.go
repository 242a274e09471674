package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hears is nil if one host's question for another's address is answered, by it alone.
func hears(ctx context.Context, from, to *Host) error {
	answers, err := from.WhoHas(ctx, to.V4, 300*time.Millisecond)
	if err == nil && (len(answers) != 1 || answers[0].MAC.String() != to.MAC.String()) {
		err = fmt.Errorf("%s asked for %s: got %v, want %s alone", from.name, to.name, answers, to.MAC)
	}
	return err
}

// deaf fails the test if one host's question for another's address is answered.
func deaf(ctx context.Context, t *testing.T, from, to *Host) {
	t.Helper()
	if answers, err := from.WhoHas(ctx, to.V4, 200*time.Millisecond); err != nil || len(answers) != 0 {
		t.Errorf("%s asked for %s: got %v, %v, want no answer", from.name, to.name, answers, err)
	}
}

func pauses(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[2]
	pid := n.Proxy.PID()
	if err := c.Pause(n); err != nil {
		t.Fatal(err)
	}
	deaf(ctx, t, c.Client, n.Host)
	within(ctx, t, func(context.Context) error {
		state, err := processState(pid)
		if err == nil && state != 'T' {
			err = fmt.Errorf("kube-proxy of a paused node is in state %c, want T", state)
		}
		return err
	})
	if carrier, err := n.carrier(); err != nil || !carrier {
		t.Errorf("carrier of a paused node: %t, %v, want it kept", carrier, err)
	}
	if err := c.Resume(n); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error { return hears(ctx, c.Client, n.Host) })
	within(ctx, t, func(ctx context.Context) error { return c.waitForNode(ctx, n) })
	if got := n.Proxy.PID(); got != pid {
		t.Errorf("kube-proxy has PID %d, had %d: want the process that was stopped", got, pid)
	}
}

func splits(ctx context.Context, t *testing.T, c *Cluster) {
	a, b := c.Nodes[0].Host, c.Nodes[1].Host
	if err := c.SplitSegment(ctx, a.Netns, c.Client.Netns); err != nil {
		t.Fatal(err)
	}
	deaf(ctx, t, b, a)
	deaf(ctx, t, a, b)
	deaf(ctx, t, a, c.Router)
	if err := errors.Join(hears(ctx, c.Client, a), hears(ctx, c.Router, b)); err != nil {
		t.Errorf("within a side: %v", err)
	}
	if carrier, err := a.carrier(); err != nil || !carrier {
		t.Errorf("carrier after a split: %t, %v, want it kept", carrier, err)
	}
	if err := c.HealSegment(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(hears(ctx, b, a), hears(ctx, a, b)); err != nil {
		t.Errorf("healed: %v", err)
	}
}

func flickers(ctx context.Context, t *testing.T, c *Cluster) {
	p, err := c.Client.StartProber(ctx, c.Nodes[0].V4, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	stop := c.Flicker(400*time.Millisecond, 100*time.Millisecond, 1)
	within(ctx, t, func(context.Context) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		// The last gap may be one of probes that are still under way.
		if gaps := report(p.probes).Gaps; len(gaps) < 4 {
			return fmt.Errorf("gaps so far: %v", gaps)
		}
		return nil
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	seen, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if seen.Unanswered == seen.Sent || len(seen.Gaps) < 3 {
		t.Errorf("%s in %d gaps, want several gaps and answers between them", seen, len(seen.Gaps))
	}
	if err := hears(ctx, c.Client, c.Nodes[0].Host); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

func filtersARP(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	vip := netip.MustParsePrefix("192.0.2.51/32")
	if err := n.setUp(nic, vip); err != nil {
		t.Fatal(err)
	}
	if err := c.DropUnknownARP(ctx, n); err != nil {
		t.Fatal(err)
	}
	if err := hears(ctx, c.Client, n.Host); err != nil {
		t.Errorf("for its own address: %v", err)
	}
	if answers, err := c.Client.WhoHas(ctx, vip.Addr(), 200*time.Millisecond); err != nil || len(answers) != 0 {
		t.Errorf("for a VIP: got %v, %v, want no answer", answers, err)
	}
	if err := c.AllowARP(ctx, n); err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(ctx context.Context) error {
		answers, err := c.Client.WhoHas(ctx, vip.Addr(), 300*time.Millisecond)
		if err == nil && len(answers) != 1 {
			err = fmt.Errorf("for a VIP, allowed again: got %v", answers)
		}
		return err
	})
	if _, err := n.FlushVIPs(); err != nil {
		t.Fatal(err)
	}
}

func suppresses(ctx context.Context, t *testing.T, c *Cluster) {
	here, away := c.Nodes[0].Host, c.Nodes[1].Host
	// Nobody's, announced by a node that hasn't bound it.
	ghost := netip.MustParseAddr("192.0.2.52")
	stop, err := c.SuppressNeighbours(away.Netns)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Errorf("ending the suppression: %v", err)
		}
	}()
	within(ctx, t, func(ctx context.Context) error { return errors.Join(hears(ctx, here, away), hears(ctx, away, here)) })
	f := &Foreign{Host: away}
	within(ctx, t, func(ctx context.Context) error {
		// The first switch learns from the announcement, which it doesn't pass on, that away has the ghost's address, and from
		// the traffic above where away is: it answers in its stead.
		if err := f.Claim(ghost); err != nil {
			return err
		}
		answers, err := here.WhoHas(ctx, ghost, 200*time.Millisecond)
		if err == nil && (len(answers) != 1 || answers[0].MAC.String() != away.MAC.String()) {
			err = fmt.Errorf("asked for an address that a switch has been told of: got %v, want %s from the switch", answers, away.MAC)
		}
		return err
	})
	w, err := here.tap(unix.ETH_P_ARP)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := f.Claim(ghost); err != nil {
		t.Fatal(err)
	}
	if err := w.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, frameBufSize); ; {
		frame, err := w.receive(buf)
		if err != nil {
			break
		}
		if p, err := parseARP(frame); err == nil && p.SenderIP == ghost {
			t.Errorf("an announcement of %s passed between the switches", ghost)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if answers, err := here.WhoHas(ctx, ghost, 200*time.Millisecond); err != nil || len(answers) != 0 {
		t.Errorf("asked for nobody's address afterwards: got %v, %v, want no answer", answers, err)
	}
	if err := hears(ctx, here, away); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func countsFrames(ctx context.Context, t *testing.T, c *Cluster) {
	n := c.Nodes[0]
	if err := c.CountFrames(ctx); err != nil {
		t.Fatal(err)
	}
	before, err := c.FrameCounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const asked = 5
	for range asked {
		if err := hears(ctx, c.Client, n.Host); err != nil {
			t.Error(err)
		}
	}
	p, err := c.Client.StartProber(ctx, n.V4, 5*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	within(ctx, t, func(context.Context) error {
		if answered := p.answered(); answered < 20 {
			return fmt.Errorf("%d answers", answered)
		}
		return nil
	})
	if _, err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	after, err := c.FrameCounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	from, to := after[n.name].From.Sub(before[n.name].From), after[n.name].To.Sub(before[n.name].To)
	if from.ARP < asked || to.ARP < asked || from.Echo < 20 || to.Echo < 20 || from.All < from.ARP+from.Echo || to.All < to.ARP+to.Echo {
		t.Errorf("frames from the node %+v, to it %+v, want at least %d ARP and 20 echo packets of each, and no fewer in all", from, to, asked)
	}
}

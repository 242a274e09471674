package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/test/lab"
)

// Ended is what became of the VIPs of an announcer that was killed or stopped for good.
type Ended struct {
	How  string `json:"how"`
	Node string `json:"node"`
	Takeover
	// Probes are pings every 10 ms: their longest gap is the time without any answer. The old
	// owner's kernel may pass late ones on, so the slowest answer counts as well.
	Probes Unanswered `json:"probes"`
	// StolenBack are VIPs that the node had again in the end.
	StolenBack int `json:"stolenBack"`
}

// EndAnnouncer sends SIGKILL or SIGSTOP to a node's announcer, waits until its VIPs answer elsewhere, and lets an announcer run
// there again.
func (e *Env) EndAnnouncer(ctx context.Context, n *lab.Node, sig unix.Signal) (Ended, error) {
	result := Ended{How: unix.SignalName(sig), Node: n.Name()}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	vips, err := Held(n)
	if err != nil {
		return result, err
	}
	result.Probes, err = e.Probing(ctx, vips, 10*time.Millisecond, func() error {
		var err error
		result.Takeover, err = e.watchTakeover(ctx, watched{vips: vips, lost: []*lab.Node{n}, heard: true, patience: takeoverPatience}, func() error {
			return n.Announcer.Signal(sig)
		})
		return err
	})
	if err != nil {
		return result, err
	}
	if sig == unix.SIGSTOP {
		err = n.Announcer.Signal(unix.SIGCONT)
	} else {
		err = errors.Join(waitEnded(ctx, n.Announcer), n.Announcer.Start())
	}
	if err == nil {
		err = e.Whole(ctx)
	}
	if err != nil {
		return result, err
	}
	result.StolenBack, err = e.countHeld(n, vips)
	return result, err
}

func waitEnded(ctx context.Context, p *lab.Process) error {
	return lab.Eventually(ctx, func(context.Context) error {
		if p.Running() {
			return fmt.Errorf("%s still runs", p.Name())
		}
		return nil
	})
}

// countHeld counts those of the VIPs that the node has.
func (e *Env) countHeld(n *lab.Node, vips []netip.Addr) (int, error) {
	owners, err := e.Owners()
	count := 0
	for _, vip := range vips {
		for _, node := range owners[vip] {
			if node == n.Name() {
				count++
			}
		}
	}
	return count, err
}

// Restarted is what restarts of our programs did.
type Restarted struct {
	What   string     `json:"what"`
	Probes Unanswered `json:"probes"`
	Moves  int        `json:"moves"`
}

// restartSettle is longer than any lifetime that a killed announcer leaves behind.
const restartSettle = 8 * time.Second

// probedAtOnce bounds how many VIPs are pinged every 10 ms at a time: the pinging is not to be the load.
const probedAtOnce = 12

// Calm runs something that is to move and drop nothing, while VIPs of the given nodes (all, without any) are pinged.
func (e *Env) Calm(ctx context.Context, what string, f func() error, nodes ...*lab.Node) (Restarted, error) {
	result := Restarted{What: what}
	if len(nodes) == 0 {
		nodes = e.Nodes
	}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	var vips []netip.Addr
	for _, n := range nodes {
		held, err := Held(n)
		if err != nil {
			return result, err
		}
		vips = append(vips, held[:min(len(held), max(1, probedAtOnce/len(nodes)))]...)
	}
	before, err := e.Owners()
	if err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	result.Probes, err = e.Probing(ctx, vips, 10*time.Millisecond, func() error {
		if err := f(); err != nil {
			return err
		}
		time.Sleep(restartSettle)
		return nil
	})
	events, stopErr := recorder.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return result, err
	}
	// A VIP that went and came back has moved too.
	result.Moves = len(movedIn(events, before))
	return result, e.Whole(ctx)
}

// movedIn returns the VIPs that a node bound which didn't have them before.
func movedIn(events []lab.AddrEvent, before map[netip.Addr][]string) map[netip.Addr]string {
	moved := map[netip.Addr]string{}
	for _, event := range events {
		owners, known := before[event.Addr.Addr()]
		if !event.Added || event.Renewed || !event.Addr.IsSingleIP() || !known {
			continue
		}
		if len(owners) != 1 || owners[0] != event.Node {
			moved[event.Addr.Addr()] = event.Node
		}
	}
	return moved
}

// RestartAnnouncer ends a node's announcer, with SIGTERM as an upgrade or SIGKILL as a crash, and starts it again.
func (e *Env) RestartAnnouncer(ctx context.Context, n *lab.Node, sig unix.Signal) error {
	if err := n.Announcer.Signal(sig); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := waitEnded(ctx, n.Announcer); err != nil {
		return err
	}
	return n.Announcer.Start()
}

// RollAnnouncers restarts all announcers, one after the other, at the pace of a rolling update.
func (e *Env) RollAnnouncers(ctx context.Context) error {
	for _, n := range e.Nodes {
		if err := e.RestartAnnouncer(ctx, n, unix.SIGTERM); err != nil {
			return err
		}
		time.Sleep(2 * time.Second) // its pod is ready, the next one's turn comes
	}
	return nil
}

// RestartController and RestartScheduler crash the program and start it again.
func (e *Env) RestartController() error {
	return errors.Join(e.Controller.Kill(), e.Controller.Start())
}
func (e *Env) RestartScheduler() error { return errors.Join(e.Scheduler.Kill(), e.Scheduler.Start()) }

// Restarts are the restarts that must move and drop nothing.
func (e *Env) Restarts(ctx context.Context) ([]Restarted, error) {
	first, err := e.Busiest(0)
	if err != nil {
		return nil, err
	}
	var results []Restarted
	for _, r := range []struct {
		what  string
		f     func() error
		nodes []*lab.Node
	}{
		{"announcer: SIGTERM and restart", func() error { return e.RestartAnnouncer(ctx, first, unix.SIGTERM) }, []*lab.Node{first}},
		{"announcer: SIGKILL and restart", func() error { return e.RestartAnnouncer(ctx, first, unix.SIGKILL) }, []*lab.Node{first}},
		{"announcers rolled on all nodes", func() error { return e.RollAnnouncers(ctx) }, nil},
		{"controller: SIGKILL and restart", e.RestartController, nil},
		{"scheduler: SIGKILL and restart", e.RestartScheduler, nil},
	} {
		result, err := e.Calm(ctx, r.what, r.f, r.nodes...)
		results = append(results, result)
		if err != nil {
			return results, fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return results, nil
}

package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"evenkeel.io/evenkeel/test/lab"
)

// Held returns the VIPs on a node's NIC, as its kernel has them.
func Held(n *lab.Node) ([]netip.Addr, error) {
	prefixes, err := n.Addresses()
	if err != nil {
		return nil, err
	}
	var held []netip.Addr
	for _, p := range prefixes {
		if p.IsSingleIP() {
			held = append(held, p.Addr())
		}
	}
	return held, nil
}

// AllHeld waits until the nodes' kernels hold n VIPs together.
func (e *Env) AllHeld(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return lab.Eventually(ctx, func(context.Context) error {
		total := 0
		for _, node := range e.Nodes {
			held, err := Held(node)
			if err != nil {
				return err
			}
			total += len(held)
		}
		if total < n {
			return fmt.Errorf("the nodes hold %d of %d VIPs", total, n)
		}
		return nil
	})
}

// Killed is what is left of an announcer that was SIGKILLed and not started again.
type Killed struct {
	Addresses int     `json:"addresses"`
	GoneMs    float64 `json:"goneMs"` // until the kernel had removed the last one
}

// KillForGood kills a node's announcer and waits until its addresses are gone; then it starts it again.
func (e *Env) KillForGood(ctx context.Context, n *lab.Node) (Killed, error) {
	held, err := Held(n)
	if err != nil {
		return Killed{}, err
	}
	begin := time.Now()
	if err := n.Announcer.Kill(); err != nil {
		return Killed{}, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = lab.Eventually(waitCtx, func(context.Context) error {
		left, err := Held(n)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v are left on %s", left, n.Name())
		}
		return err
	})
	gone := time.Since(begin)
	if err != nil {
		return Killed{}, err
	}
	return Killed{len(held), float64(gone.Milliseconds())}, n.Announcer.Start()
}

// Unanswered sums up what probers of several VIPs saw.
type Unanswered struct {
	VIPs         int     `json:"vips"`
	EveryMs      float64 `json:"everyMs"`
	Sent         int     `json:"sent"`
	Unanswered   int     `json:"unanswered"`
	LongestGapMs float64 `json:"longestGapMs"`
	// SlowestMs is the slowest answer: what a host held back until it knew where to send it.
	SlowestMs float64 `json:"slowestAnswerMs"`
}

// Probing pings VIPs from the client at a steady pace while f runs.
func (e *Env) Probing(ctx context.Context, vips []netip.Addr, every time.Duration, f func() error) (Unanswered, error) {
	total := Unanswered{VIPs: len(vips), EveryMs: float64(every.Microseconds()) / 1000}
	var probers []*lab.Prober
	for _, vip := range vips {
		// The first answer fills the client's neighbour table, like any client's that is there already.
		if err := e.served(ctx, vip, e.Client.Netns); err != nil {
			return total, err
		}
		p, err := e.Client.StartProber(ctx, vip, every)
		if err != nil {
			return total, err
		}
		probers = append(probers, p)
	}
	failed := f()
	reports := make([]lab.Report, len(probers))
	var group errgroup.Group
	for i, p := range probers {
		// All at once: each goes on pinging until it is stopped, and then waits for late answers.
		group.Go(func() (err error) {
			reports[i], err = p.Stop()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return total, errors.Join(failed, err)
	}
	for _, report := range reports {
		total.Sent += report.Sent
		total.Unanswered += report.Unanswered
		total.LongestGapMs = max(total.LongestGapMs, float64(report.LongestGap().Milliseconds()))
		total.SlowestMs = max(total.SlowestMs, millis(report.SlowestAnswer))
	}
	return total, failed
}

// Paused is what became of a node's VIPs while its announcer was stopped past their lifetime, and after it went on.
type Paused struct {
	Held        int  `json:"held"`        // before
	LeftAtPause int  `json:"leftAtPause"` // addresses still there at the end of the pause
	Back        int  `json:"back"`        // bound again afterwards
	TakenBack   bool `json:"takenBack"`   // whether it bound the one that another machine took meanwhile
}

// StopPast stops a node's announcer for longer than its addresses live; another machine takes the first of them meanwhile.
func (e *Env) StopPast(ctx context.Context, n *lab.Node, pause time.Duration) (Paused, error) {
	held, err := Held(n)
	if err != nil || len(held) == 0 {
		return Paused{}, fmt.Errorf("%s holds no VIP: %w", n.Name(), err)
	}
	foreign, err := e.AddForeign()
	if err != nil {
		return Paused{}, err
	}
	if err := n.Announcer.Signal(syscall.SIGSTOP); err != nil {
		return Paused{}, err
	}
	time.Sleep(pause) // the pause itself
	left, err := Held(n)
	if err != nil {
		return Paused{}, err
	}
	if err := foreign.Bind(held[0]); err != nil {
		return Paused{}, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return Paused{}, err
	}
	if err := n.Announcer.Signal(syscall.SIGCONT); err != nil {
		return Paused{}, err
	}
	result := Paused{Held: len(held), LeftAtPause: len(left)}
	waitCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = lab.Eventually(waitCtx, func(context.Context) error {
		back, err := Held(n)
		result.Back = len(back)
		if err == nil && len(back) < len(held)-1 {
			err = fmt.Errorf("%d of %d addresses are back", len(back), len(held)-1)
		}
		return err
	})
	events, stopErr := recorder.Stop()
	for _, event := range events {
		if event.Node == n.Name() && event.Added && event.Addr.Addr() == held[0] {
			result.TakenBack = true
		}
	}
	if err == nil {
		err = stopErr
	}
	if err == nil {
		err = foreign.Unbind(held[0])
	}
	if err != nil {
		return result, err
	}
	// With the other machine gone the VIP comes back once the back-off has passed.
	waitCtx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return result, lab.Eventually(waitCtx, func(context.Context) error {
		back, err := Held(n)
		if err == nil && len(back) < len(held) {
			err = fmt.Errorf("%d of %d addresses are back after the other machine had gone", len(back), len(held))
		}
		return err
	})
}

// StallFile is where announcers look whether they are to stall between the check of a lease and its renewal, when the lab's
// program has put it into its environment under address.StallFileEnv.
const StallFile = "/run/evenkeel-stall"

// Stalled is what a stall of 7 s between check and renewal did.
type Stalled struct {
	Node string `json:"node"`
	// Revived counts addresses that a late renewal brought back after the kernel had removed them and that were deleted again;
	// the rule that a renewal is sent only within its lease makes it 0 unless the process stalls after the check.
	Revived int `json:"revivedByLateRenewal"`
	// StandingMs is how long such an address stood, at most.
	StandingMs float64 `json:"standingMs"`
	Back       bool    `json:"back"`
}

// Stall has one announcer stall for longer than its addresses live, between the check of a lease and the renewal.
func (e *Env) Stall(ctx context.Context, stall time.Duration) (Stalled, error) {
	recorder, err := e.RecordAddresses()
	if err != nil {
		return Stalled{}, err
	}
	if err := os.WriteFile(StallFile, []byte(stall.String()), 0o600); err != nil {
		return Stalled{}, err
	}
	before := map[string]int{}
	for _, n := range e.Nodes {
		held, err := Held(n)
		if err != nil {
			return Stalled{}, err
		}
		before[n.Name()] = len(held)
	}
	time.Sleep(stall + 3*time.Second) // the stall itself, from the next renewal on
	waitCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = lab.Eventually(waitCtx, func(context.Context) error {
		for _, n := range e.Nodes {
			held, err := Held(n)
			if err != nil {
				return err
			}
			if len(held) < before[n.Name()] {
				return fmt.Errorf("%s has %d of %d VIPs", n.Name(), len(held), before[n.Name()])
			}
		}
		return nil
	})
	events, stopErr := recorder.Stop()
	result := stalledIn(events)
	result.Back = err == nil
	return result, errors.Join(err, stopErr)
}

// stalledIn finds in address events the node whose addresses expired, and what a late renewal did there: it shows as an address
// that is added after its expiry and deleted again at once. What is added and stays was probed first.
func stalledIn(events []lab.AddrEvent) Stalled {
	type held struct {
		node string
		addr netip.Addr
	}
	var result Stalled
	expired, added := map[held]bool{}, map[held]time.Time{}
	for _, event := range events {
		if !event.Addr.IsSingleIP() {
			continue
		}
		key := held{event.Node, event.Addr.Addr()}
		switch at, again := added[key]; {
		case event.Added && !event.Renewed && expired[key]:
			added[key] = event.At
		case !event.Added && again:
			result.Revived++
			result.StandingMs = max(result.StandingMs, float64(event.At.Sub(at).Microseconds())/1000)
			delete(added, key)
		case !event.Added:
			expired[key] = true
			result.Node = event.Node
		}
	}
	return result
}

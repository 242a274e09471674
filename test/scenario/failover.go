package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/test/lab"
)

// Fault is a way to lose a node.
type Fault string

// Faults.
const (
	PowerLoss   Fault = "power loss"
	CarrierLost Fault = "port cut, carrier lost"
	CarrierKept Fault = "port cut, carrier kept"
)

// Faults are all of them.
func Faults() []Fault { return []Fault{PowerLoss, CarrierLost, CarrierKept} }

// silence makes the node silent; the rest of its death is the returned function's, which takes longer.
func (e *Env) silence(n *lab.Node, fault Fault) (rest func() error, err error) {
	nothing := func() error { return nil }
	switch fault {
	case PowerLoss:
		return func() error { return e.PowerLoss(n) }, n.CutPort(lab.CarrierKept)
	case CarrierLost:
		return nothing, n.CutPort(lab.CarrierLost)
	case CarrierKept:
		return nothing, n.CutPort(lab.CarrierKept)
	}
	return nil, fmt.Errorf("there is no fault %q", fault)
}

// restore ends the fault; it doesn't wait for the node to be ready.
func (e *Env) restore(ctx context.Context, n *lab.Node, fault Fault) error {
	if fault == PowerLoss {
		return e.PowerOn(ctx, n)
	}
	return n.RestorePort()
}

// ControlPlaneState says what of the control plane lives during a loss.
type ControlPlaneState string

// States of the control plane.
const (
	Up                  ControlPlaneState = "up"
	Down                ControlPlaneState = "API server, controller and scheduler down"
	DownAndAnnouncersUp ControlPlaneState = "down, all announcers killed and restarted since"
)

// Loss is one node lost, and its return.
type Loss struct {
	Fault        Fault             `json:"fault"`
	Node         string            `json:"node"`
	Nodes        int               `json:"nodes"`
	ControlPlane ControlPlaneState `json:"controlPlane"`
	// Earlier counts the losses before it in the same outage of the control plane, after which nobody could even anything out.
	Earlier   int     `json:"earlierLossesInOutage,omitempty"`
	SettledMs float64 `json:"settledBeforeMs"` // what standbys had to come to rest since the last change
	Takeover
	// HealedMs is from the fault until every VIP had all its placeholders, ready, on the nodes left; from the API server's
	// return where it was down.
	HealedMs float64 `json:"healedMs"`
	// Suspect: the node was suspect then.
	Suspect bool `json:"suspect"`
	// At the node's return: VIPs that moved, the longest time that two nodes had one VIP, and when all had one owner again.
	ReturnMoves       int     `json:"returnMoves"`
	ReturnTwoOwnersMs float64 `json:"returnTwoOwnersMs"`
	ReturnOneOwnerMs  float64 `json:"returnOneOwnerMs"`
	// WholeMs is from the return until nothing was amiss.
	WholeMs float64 `json:"wholeAfterReturnMs"`
}

// takeoverPatience is when a VIP that hasn't answered counts as silent.
const takeoverPatience = 20 * time.Second

// StopControlPlane ends API server, controller and scheduler as a crash would.
func (e *Env) StopControlPlane() error {
	var errs []error
	for _, p := range []*lab.Process{e.Controller, e.Scheduler} {
		if err := p.Kill(); err != nil && !errors.Is(err, lab.ErrNotRunning) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, e.StopAPIServer())...)
}

// StartControlPlane starts them again. It deletes the leases of those that were killed, which the new ones would wait for for 15 s
// (client-go's default): what is measured is not how long a killed leader is waited for.
func (e *Env) StartControlPlane(ctx context.Context) error {
	if err := e.StartAPIServer(ctx); err != nil {
		return err
	}
	leases := e.Kube.CoordinationV1().Leases(lab.Namespace)
	if err := leases.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("deleting the leases of a killed control plane: %w", err)
	}
	return errors.Join(e.Controller.Start(), e.Scheduler.Start())
}

// restartAnnouncers kills and starts all announcers, all at once.
func (e *Env) restartAnnouncers() error {
	var g errgroup.Group
	for _, n := range e.Nodes {
		g.Go(func() error {
			if err := n.Announcer.Kill(); err != nil {
				return err
			}
			return n.Announcer.Start()
		})
	}
	return g.Wait()
}

// guardAgain is what announcers get at most, after they were restarted without an API server or a node is back without one, until all
// VIPs are guarded again.
const guardAgain = 10 * time.Second

// LoseBusiest loses the node that has most VIPs once all is well, as Busiest counts from a number on.
func (e *Env) LoseBusiest(ctx context.Context, from int, fault Fault, control ControlPlaneState) (Loss, error) {
	if err := e.Whole(ctx); err != nil {
		return Loss{Fault: fault, Nodes: len(e.Nodes), ControlPlane: control}, err
	}
	n, err := e.Busiest(from)
	if err != nil {
		return Loss{Fault: fault, Nodes: len(e.Nodes), ControlPlane: control}, err
	}
	return e.Lose(ctx, n, fault, control)
}

// Lose loses a node and brings it back, once everything had settled before, had healed in between and is well at the end.
func (e *Env) Lose(ctx context.Context, n *lab.Node, fault Fault, control ControlPlaneState) (Loss, error) {
	result := Loss{Fault: fault, Node: n.Name(), Nodes: len(e.Nodes), ControlPlane: control}
	if err := e.settleFor(ctx, n, &result); err != nil {
		return result, err
	}
	if err := e.endControlPlane(ctx, control); err != nil {
		return result, err
	}
	begin, vips, err := e.take(ctx, n, &result)
	if err != nil {
		return result, err
	}
	if control != Up {
		begin = time.Now()
		if err := e.StartControlPlane(ctx); err != nil {
			return result, err
		}
	}
	if err := e.healed(ctx, n); err != nil {
		return result, err
	}
	result.HealedMs = millis(time.Since(begin))
	suspects, err := e.Suspects(ctx)
	if err != nil {
		return result, err
	}
	result.Suspect = suspects[n.Name()] != ""
	return result, e.comeBack(ctx, &result, n, fault, vips, e.Whole)
}

// CutInOutage cuts nodes off one after the other, times times, in one outage of the control plane, and restores each port before the
// next one. What a node lost is then guarded by that node, so that every loss finds all VIPs guarded. Which node is next counts
// from the given one on. observe is given each loss, also an unfinished one together with the error.
func (e *Env) CutInOutage(ctx context.Context, first, times int, fault Fault, control ControlPlaneState, observe func(Loss)) error {
	if fault == PowerLoss || control == Up {
		return fmt.Errorf("cutting nodes off in an outage by %s, control plane %s: a node without power doesn't come back without an API server", fault, control)
	}
	for i := range times {
		n, err := e.Busiest(first + i)
		if err != nil {
			return err
		}
		result := Loss{Fault: fault, Node: n.Name(), Nodes: len(e.Nodes), ControlPlane: control, Earlier: i}
		err = e.cutInOutage(ctx, n, &result)
		observe(result)
		if err != nil {
			return err
		}
	}
	if err := e.StartControlPlane(ctx); err != nil {
		return err
	}
	return e.Whole(ctx)
}

func (e *Env) cutInOutage(ctx context.Context, n *lab.Node, result *Loss) error {
	if result.Earlier == 0 {
		if err := e.settleFor(ctx, n, result); err != nil {
			return err
		}
		if err := e.endControlPlane(ctx, result.ControlPlane); err != nil {
			return err
		}
	}
	_, vips, err := e.take(ctx, n, result)
	if err != nil {
		return err
	}
	return e.comeBack(ctx, result, n, result.Fault, vips, func(ctx context.Context, _ ...string) error { return e.onGuard(ctx, guardAgain) })
}

// settleFor waits until all is well, and standbys are where the loss of n comes out evenly. Backends are waited for first: a request that
// is sent to one on the lost node would say nothing about its VIP. That is part of the settling, as standbys settle meanwhile.
func (e *Env) settleFor(ctx context.Context, n *lab.Node, result *Loss) error {
	begin := time.Now()
	if err := e.servedLocally(ctx); err != nil {
		return err
	}
	if err := e.Whole(ctx); err != nil {
		return err
	}
	if err := e.guardedEvenly(ctx, n, begin); err != nil {
		return err
	}
	result.SettledMs = millis(time.Since(begin))
	return nil
}

// endControlPlane brings the control plane to a state from being up.
func (e *Env) endControlPlane(ctx context.Context, control ControlPlaneState) error {
	if control == Up {
		return nil
	}
	if err := e.StopControlPlane(); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // connections break, watches are tried again
	if control == Down {
		return nil
	}
	if err := e.restartAnnouncers(); err != nil {
		return err
	}
	return e.onGuard(ctx, guardAgain)
}

// take has the fault befall n, and watches until its VIPs answer elsewhere. It returns when, and which they were.
func (e *Env) take(ctx context.Context, n *lab.Node, result *Loss) (begin time.Time, vips []netip.Addr, err error) {
	if vips, err = Held(n); err != nil {
		return begin, nil, err
	}
	var rest errgroup.Group
	watched := watched{vips: vips, lost: []*lab.Node{n}, requests: true, patience: takeoverPatience}
	result.Takeover, err = e.watchTakeover(ctx, watched, func() error {
		begin = time.Now()
		die, err := e.silence(n, result.Fault)
		if err == nil {
			rest.Go(die)
		}
		return err
	})
	return begin, vips, errors.Join(err, rest.Wait())
}

// healed waits until every VIP has its placeholders on the nodes that are left, the lost one being suspect by right.
func (e *Env) healed(ctx context.Context, lost ...*lab.Node) error {
	err := patiently(ctx, func(ctx context.Context) error {
		_, err := e.placed(ctx, e.others(lost...))
		return err
	})
	if err != nil {
		return fmt.Errorf("waiting until placeholders have left the lost nodes: %w", err)
	}
	return nil
}

// comeBack restores a lost node and watches what that does until all is well again.
func (e *Env) comeBack(ctx context.Context, result *Loss, n *lab.Node, fault Fault, vips []netip.Addr, well func(context.Context, ...string) error) error {
	before, err := e.ownersOf(e.others(n))
	if err != nil {
		return err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := e.restore(ctx, n, fault); err != nil {
		return err
	}
	if fault == PowerLoss {
		if err := e.WaitForNode(ctx, n); err != nil {
			return err
		}
	}
	if err := well(ctx); err != nil {
		return err
	}
	result.WholeMs = millis(time.Since(begin))
	now, err := e.ownersOf(e.names())
	if err != nil {
		return err
	}
	events, err := recorder.Stop()
	if err != nil {
		return err
	}
	result.ReturnMoves = movesBetween(before, now)
	longest, until := twoOwners(events, vips, begin, time.Now())
	result.ReturnTwoOwnersMs, result.ReturnOneOwnerMs = millis(longest), millis(until)
	return nil
}

// ownersOf returns which of the given nodes have each VIP.
func (e *Env) ownersOf(nodes []string) (map[netip.Addr][]string, error) {
	all, err := e.Owners()
	if err != nil {
		return nil, err
	}
	owners := map[netip.Addr][]string{}
	for vip, on := range all {
		for _, node := range on {
			for _, wanted := range nodes {
				if node == wanted {
					owners[vip] = append(owners[vip], node)
				}
			}
		}
	}
	return owners, nil
}

// LossOfBoth is the loss of an active's and a standby's node at once.
type LossOfBoth struct {
	Lost  []string `json:"lost"`
	Nodes int      `json:"nodes"`
	// Orphans are VIPs both of whose placeholders were lost.
	Orphans int `json:"orphans"`
	Takeover
	WholeMs float64 `json:"wholeAfterReturnMs"`
}

// LoseBoth takes the power of two nodes at once, chosen so that as many VIPs as possible have their active and their standby on
// them, and gives it back.
func (e *Env) LoseBoth(ctx context.Context) (LossOfBoth, error) {
	result := LossOfBoth{Nodes: len(e.Nodes)}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	found, err := e.whole(ctx, e.names())
	if err != nil {
		return result, err
	}
	pairs := map[[2]string]int{}
	var worst [2]string
	for _, p := range found {
		if len(p.standbys) == 0 {
			continue
		}
		pair := [2]string{min(p.active, p.standbys[0]), max(p.active, p.standbys[0])}
		if pairs[pair]++; pairs[pair] > pairs[worst] {
			worst = pair
		}
	}
	result.Orphans, result.Lost = pairs[worst], worst[:]
	var lost []*lab.Node
	var vips []netip.Addr
	for _, name := range worst {
		n, err := e.Node(name)
		if err != nil {
			return result, err
		}
		held, err := Held(n)
		if err != nil {
			return result, err
		}
		lost, vips = append(lost, n), append(vips, held...)
	}
	var rest errgroup.Group
	result.Takeover, err = e.watchTakeover(ctx, watched{vips: vips, lost: lost, patience: takeoverPatience}, func() error {
		for _, n := range lost {
			die, err := e.silence(n, PowerLoss)
			if err != nil {
				return err
			}
			rest.Go(die)
		}
		return nil
	})
	if err = errors.Join(err, rest.Wait()); err != nil {
		return result, err
	}
	begin := time.Now()
	for _, n := range lost {
		if err := e.restore(ctx, n, PowerLoss); err != nil {
			return result, err
		}
	}
	err = e.Whole(ctx)
	result.WholeMs = millis(time.Since(begin))
	return result, err
}

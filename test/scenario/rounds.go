package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/test/lab"
)

// JoinNode evens out after the last node joins the others: VIPs are on the others alone when it is called. See Withdraw.
func (e *Env) JoinNode(ctx context.Context) (Evened, error) {
	last := e.Nodes[len(e.Nodes)-1]
	return e.EvenOut(ctx, Watched{
		What: "a node joins", Nodes: e.names(), Earlier: e.others(last), Traffic: true, Within: EvenWithin,
	}, func() error { return e.Join(last) })
}

// LoseAndReturn loses a node, waits until VIPs are even on the others, and returns it. Connections are watched at its return, when
// nothing but planned moves happens.
func (e *Env) LoseAndReturn(ctx context.Context, n *lab.Node) (lost, returned Evened, err error) {
	others := e.others(n)
	lost, err = e.EvenOut(ctx, Watched{What: "power loss of " + n.Name(), Nodes: others, Earlier: e.names(), Within: EvenWithin}, func() error {
		return e.PowerLoss(n)
	})
	if err != nil {
		return lost, returned, err
	}
	returned, err = e.EvenOut(ctx, Watched{What: "return of " + n.Name(), Nodes: e.names(), Earlier: others, Traffic: true, Within: EvenWithin}, func() error {
		return e.PowerOn(ctx, n)
	})
	return lost, returned, errors.Join(err, e.Whole(ctx))
}

// DrainAndReturn drains a node with kubectl, waits until VIPs are even on the others, and uncordons it.
func (e *Env) DrainAndReturn(ctx context.Context, n *lab.Node) (drained, returned Evened, err error) {
	others := e.others(n)
	drained, err = e.EvenOut(ctx, Watched{What: "drain of " + n.Name(), Nodes: others, Earlier: e.names(), Traffic: true, Within: EvenWithin}, func() error {
		_, err := e.Kubectl(ctx, "drain", n.Name(), "--ignore-daemonsets", "--timeout="+drainTimeout)
		return err
	})
	if err != nil {
		return drained, returned, err
	}
	returned, err = e.EvenOut(ctx, Watched{What: "uncordon of " + n.Name(), Nodes: e.names(), Earlier: others, Traffic: true, Within: EvenWithin}, func() error {
		_, err := e.Kubectl(ctx, "uncordon", n.Name())
		return err
	})
	return drained, returned, errors.Join(err, e.Whole(ctx))
}

// PlanKilled is a plan in which the controller was killed.
type PlanKilled struct {
	Evened
	// AfterMoves is how many VIPs had changed their owners when it was.
	AfterMoves int `json:"killedAfterMoves"`
}

// KillInPlan drains a node and uncordons it, and kills the controller with SIGKILL at a random moment of the moves that even out. A new
// one starts at once.
func (e *Env) KillInPlan(ctx context.Context, n *lab.Node, random *rand.Rand) (PlanKilled, error) {
	var result PlanKilled
	others := e.others(n)
	before, err := e.Owners()
	if err != nil {
		return result, err
	}
	if _, err := e.Kubectl(ctx, "drain", n.Name(), "--ignore-daemonsets", "--timeout="+drainTimeout); err != nil {
		return result, err
	}
	if err := e.evenOn(ctx, others, len(before), EvenWithin); err != nil {
		return result, err
	}
	if before, err = e.Owners(); err != nil {
		return result, err
	}
	least := fewest(before, e.names())
	if least == 0 {
		return result, errors.New("the drain left nothing to even out")
	}
	after, delay := random.IntN(least), time.Duration(random.IntN(400))*time.Millisecond
	result.Evened, err = e.EvenOut(ctx, Watched{What: "controller killed while VIPs return to " + n.Name(), Nodes: e.names(), Earlier: others, Traffic: true, Within: EvenWithin}, func() error {
		if _, err := e.Kubectl(ctx, "uncordon", n.Name()); err != nil {
			return err
		}
		err := patiently(ctx, func(context.Context) error {
			now, err := e.Owners()
			if err != nil {
				return err
			}
			if result.AfterMoves = movesBetween(before, now); result.AfterMoves < after {
				return fmt.Errorf("%d VIPs have moved, want %d", result.AfterMoves, after)
			}
			return nil
		})
		if err != nil {
			return err
		}
		time.Sleep(delay)
		if err := e.Controller.Kill(); err != nil {
			return err
		}
		// What is measured is not how long a killed leader is waited for.
		if err := e.Kube.CoordinationV1().Leases(lab.Namespace).Delete(ctx, "evenkeel-controller", metav1.DeleteOptions{}); client.IgnoreNotFound(err) != nil {
			return err
		}
		return e.Controller.Start()
	})
	return result, errors.Join(err, e.Whole(ctx))
}

// WithoutLast creates Services while the last node has no announcer, so that their VIPs are on the others.
func (e *Env) WithoutLast(ctx context.Context, names []string) error {
	if err := e.Retire(ctx, e.Nodes[len(e.Nodes)-1]); err != nil {
		return err
	}
	if err := e.CreateAll(ctx, names, lab.ServiceOptions{}); err != nil {
		return err
	}
	return e.Whole(ctx, slices.Clone(e.names()[:len(e.Nodes)-1])...)
}

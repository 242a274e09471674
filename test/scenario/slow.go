package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/test/lab"
)

// Slowed is what VIPs did while the API server was slow, or a kubelet dead.
type Slowed struct {
	What     string            `json:"what"`
	Seconds  float64           `json:"seconds"`
	Suspects map[string]string `json:"suspects"`
	Moves    int               `json:"moves"`
	// LaterMoves are moves in the second part, where there is one: from a minute after the node was NotReady on.
	LaterMoves  int        `json:"laterMoves,omitempty"`
	LaterProbes Unanswered `json:"laterProbes,omitzero"`
	Created     int        `json:"vipsCreatedMeanwhile"`
}

// SlowAPI has every round trip to the API server take longer, and meanwhile creates Services, so that placeholders are bound and
// reported. The lab must have been started with Options.APIRelay.
func (e *Env) SlowAPI(ctx context.Context, delay, length time.Duration, create []string) (Slowed, error) {
	result := Slowed{What: fmt.Sprintf("API latency %s", delay), Seconds: length.Seconds()}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	e.API.SetDelay(delay)
	var g errgroup.Group
	g.Go(func() error {
		for _, name := range create {
			time.Sleep(length / time.Duration(2*len(create)+1)) // spread over the first half
			if _, err := e.CreateService(ctx, name, Options(lab.ServiceOptions{})); err != nil {
				return err
			}
			result.Created++
		}
		return nil
	})
	result.Suspects = e.watchSuspects(ctx, length)
	e.API.SetDelay(0)
	err = g.Wait()
	if err == nil {
		_, err = e.Announced(ctx, create...)
	}
	if err == nil {
		err = e.Whole(ctx)
	}
	events, stopErr := recorder.Stop()
	result.Moves = bindingsElsewhere(events)
	return result, errors.Join(err, stopErr)
}

// notReadyFor is the time after which a node that isn't Ready is left.
const notReadyFor = time.Minute

// KubeletDies kills a node's kubelet and waits until the node isn't Ready; nothing is to move for most of a minute. Then it watches
// the planned moves, and starts the kubelet again.
func (e *Env) KubeletDies(ctx context.Context, n *lab.Node, later time.Duration) (Slowed, error) {
	result := Slowed{What: "kubelet NotReady, data plane healthy"}
	if _, err := e.Settled(ctx); err != nil {
		return result, err
	}
	vips, err := Held(n)
	if err != nil {
		return result, err
	}
	recorder, err := e.RecordAddresses()
	if err != nil {
		return result, err
	}
	begin := time.Now()
	if err := n.Kubelet.Kill(); err != nil {
		return result, err
	}
	if err := e.notReady(ctx, n); err != nil {
		return result, err
	}
	result.Suspects = e.watchSuspects(ctx, notReadyFor-10*time.Second)
	first := bindingsElsewhere(recorder.Events())
	result.LaterProbes, err = e.Probing(ctx, vips[:min(len(vips), probedAtOnce)], 10*time.Millisecond, func() error {
		suspects := e.watchSuspects(ctx, later)
		for name, reason := range suspects {
			result.Suspects[name] = reason
		}
		return nil
	})
	events, stopErr := recorder.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return result, err
	}
	result.Seconds = time.Since(begin).Seconds()
	result.Moves, result.LaterMoves = first, bindingsElsewhere(events)-first
	if err := n.StartKubelet(ctx); err != nil {
		return result, err
	}
	return result, errors.Join(e.WaitForNode(ctx, n), e.Whole(ctx))
}

// notReady waits until the node isn't Ready.
func (e *Env) notReady(ctx context.Context, n *lab.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return lab.Eventually(ctx, func(ctx context.Context) error {
		node, err := e.Kube.CoreV1().Nodes().Get(ctx, n.Name(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range node.Status.Conditions {
			if c.Type == "Ready" && c.Status != "True" {
				return nil
			}
		}
		return fmt.Errorf("%s is still Ready", n.Name())
	})
}

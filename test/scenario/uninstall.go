package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/test/lab"
)

// Uninstalled is what "kubectl delete -k manifests/base" leaves behind.
type Uninstalled struct {
	Order     string  `json:"order"`
	DeleteMs  float64 `json:"deleteMs"`  // until kubectl returned
	AddressMs float64 `json:"addressMs"` // until no node had a VIP, from its beginning
	SetsMs    float64 `json:"setsMs"`    // until no nftables set of ours had an element
	// ClusterIPsWork: a Service answers by its ClusterIP afterwards.
	ClusterIPsWork bool `json:"clusterIPsWork"`
	// FinalizersLeft on that Service.
	FinalizersLeft int `json:"finalizersLeft"`
}

// Uninstall deletes the manifests, or parts of them in the order given (paths below manifests/), ends the programs as the
// kubelet would, and waits until nothing is left. service is one that exists.
func (e *Env) Uninstall(ctx context.Context, order string, service string, remove func(ctx context.Context) error) (Uninstalled, error) {
	result := Uninstalled{Order: order}
	begin := time.Now()
	if err := remove(ctx); err != nil {
		return result, err
	}
	result.DeleteMs = since(begin)
	waitCtx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err := lab.Eventually(waitCtx, func(context.Context) error {
		for _, n := range e.Nodes {
			held, err := Held(n)
			if err != nil || len(held) > 0 {
				return fmt.Errorf("%s still has %v: %w", n.Name(), held, err)
			}
		}
		return nil
	})
	if err != nil {
		return result, err
	}
	result.AddressMs = since(begin)
	err = lab.Eventually(waitCtx, func(ctx context.Context) error {
		for _, n := range e.Nodes {
			if elements, err := nftElements(ctx, n); err != nil || elements > 0 {
				return fmt.Errorf("%s still has %d elements in sets: %w", n.Name(), elements, err)
			}
		}
		return nil
	})
	if err != nil {
		return result, err
	}
	result.SetsMs = since(begin)
	svc, err := e.Kube.CoreV1().Services("default").Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return result, err
	}
	result.FinalizersLeft = len(svc.Finalizers)
	response, err := e.Nodes[0].Get(ctx, "http://"+svc.Spec.ClusterIP+":80/")
	result.ClusterIPsWork = err == nil && response.Status == 200
	return result, nil
}

// StopPrograms ends our programs with SIGTERM, as the kubelet does when their workloads are deleted.
func (e *Env) StopPrograms(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var errs []error
	for _, n := range e.Nodes {
		errs = append(errs, n.Announcer.Stop(ctx))
	}
	errs = append(errs, e.Controller.Stop(ctx), e.Scheduler.Stop(ctx))
	return errors.Join(errs...)
}

func since(begin time.Time) float64 { return float64(time.Since(begin).Milliseconds()) }

// nftElements counts the elements in the sets of our table on a node; without the table there are none.
func nftElements(ctx context.Context, n *lab.Node) (int, error) {
	var listing []byte
	err := n.Do(func() error {
		var err error
		listing, err = exec.CommandContext(ctx, "nft", "-j", "list", "ruleset").Output()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("listing nftables rules: %w", err)
	}
	var parsed struct {
		Nftables []struct {
			Set *struct {
				Table string            `json:"table"`
				Elem  []json.RawMessage `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(listing, &parsed); err != nil {
		return 0, fmt.Errorf("reading nftables rules: %w", err)
	}
	elements := 0
	for _, object := range parsed.Nftables {
		if object.Set != nil && object.Set.Table == "evenkeel" {
			elements += len(object.Set.Elem)
		}
	}
	return elements, nil
}

// DeleteManifests deletes everything at once, and ends the programs as the kubelet would when their workloads are deleted.
func (e *Env) DeleteManifests(ctx context.Context) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		_, err := e.Kubectl(ctx, "delete", "-k", filepath.Join(root, "manifests", "base"), "--ignore-not-found", "--timeout=120s")
		return err
	})
	group.Go(func() error { return e.StopPrograms(ctx) })
	return group.Wait()
}

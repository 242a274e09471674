package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
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
	programs := []*lab.Process{e.Controller, e.Scheduler}
	for _, n := range e.Nodes {
		programs = append(programs, n.Announcer)
	}
	for _, p := range programs {
		if p.Running() {
			errs = append(errs, p.Stop(ctx))
		}
	}
	return errors.Join(errs...)
}

func since(begin time.Time) float64 { return float64(time.Since(begin).Milliseconds()) }

// nftElements counts the elements in the sets of our tables on a node; without the tables there are none.
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
		if object.Set != nil && strings.HasPrefix(object.Set.Table, "evenkeel") {
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

// UninstallOrder is one way to remove Evenkeel.
type UninstallOrder struct {
	Name   string
	Remove func(ctx context.Context, e *Env) error
}

// UninstallOrders returns ways to remove Evenkeel, sane and otherwise.
func UninstallOrders() []UninstallOrder {
	crds := []string{"vips.evenkeel.io", "vippools.evenkeel.io", "vipnodes.evenkeel.io", "vipnodetraffics.evenkeel.io"}
	deleteCRDs := func(ctx context.Context, e *Env) error {
		_, err := e.Kubectl(ctx, append([]string{"delete", "crd", "--timeout=120s"}, crds...)...)
		return err
	}
	deleteNamespace := func(ctx context.Context, e *Env) error {
		_, err := e.Kubectl(ctx, "delete", "namespace", lab.Namespace, "--timeout=120s")
		return err
	}
	return []UninstallOrder{
		{"delete -k, programs end at once", func(ctx context.Context, e *Env) error { return e.DeleteManifests(ctx) }},
		{"CRDs first, while everything runs", func(ctx context.Context, e *Env) error {
			if err := deleteCRDs(ctx, e); err != nil {
				return err
			}
			return e.DeleteManifests(ctx)
		}},
		{"namespace first, programs last", func(ctx context.Context, e *Env) error {
			if err := deleteNamespace(ctx, e); err != nil {
				return err
			}
			return e.DeleteManifests(ctx)
		}},
		{"programs first, objects last", func(ctx context.Context, e *Env) error {
			if err := e.StopPrograms(ctx); err != nil {
				return err
			}
			if err := deleteCRDs(ctx, e); err != nil {
				return err
			}
			return e.DeleteManifests(ctx)
		}},
	}
}

// Package vipload is the scheduler plugin that places VIPs: it passes nodes that can announce a VIP and scores the least
// loaded of them highest, exactly. It acts on placeholder pods only; other pods pass it untouched.
//
// VIPLoad deliberately is no SignPlugin: with a signature the scheduler would reuse the scores of an earlier cycle for up to
// half a second (opportunistic batching), and a VIP deleted meanwhile would still count.
package vipload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/api/endpoints"
	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

// Name of the plugin in the scheduler's configuration.
const Name = "VIPLoad"

// VIPLoad places placeholders.
type VIPLoad struct {
	ignoreExcludeLabel bool
	measure            load.Measure
	nodes              *nodeStore
	endpoints          endpointIndex
	tally              *tally
	meter              *load.Meter // nil where nothing that is measured counts
	clock              clock.PassiveClock
	// limited is set once a node refused a VIP because of its own limit: from then on any VIP's end may help.
	limited atomic.Bool

	stop    context.CancelFunc
	running sync.WaitGroup // the informers and the activator
}

var (
	_ fwk.PreFilterPlugin   = (*VIPLoad)(nil)
	_ fwk.FilterPlugin      = (*VIPLoad)(nil)
	_ fwk.PreScorePlugin    = (*VIPLoad)(nil)
	_ fwk.ScorePlugin       = (*VIPLoad)(nil)
	_ fwk.ScoreExtensions   = (*VIPLoad)(nil)
	_ fwk.EnqueueExtensions = (*VIPLoad)(nil)
	_ io.Closer             = (*VIPLoad)(nil)
)

// New makes the plugin for a profile and waits until it knows all VIPNodes and, where anything that is measured counts, all
// VIPNodeTraffics. It fails within a minute when they can't be listed, at once when the cluster has no such resource.
//
// What it starts runs until Close, which the scheduler calls when it ends; the context ends it as well. (The framework has
// no Run for plugins.)
func New(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
	typed, ok := args.(*VIPLoadArgs)
	if !ok {
		return nil, fmt.Errorf("making %s: want arguments of kind %s, got %T", Name, argsKind, args)
	}
	if err := load.ValidateCriteria(typed.Criteria, field.NewPath("criteria")).ToAggregate(); err != nil {
		return nil, fmt.Errorf("making %s: %w", Name, err)
	}
	registerMetrics()

	factory := handle.SharedInformerFactory()
	podIndexer, err := indexed(factory.Core().V1().Pods().Informer(), pendingIndex, indexPending)
	if err != nil {
		return nil, fmt.Errorf("making %s: indexing pods: %w", Name, err)
	}
	if err := factory.Discovery().V1().EndpointSlices().Informer().SetTransform(strip); err != nil {
		return nil, fmt.Errorf("making %s: keeping less of EndpointSlices: %w", Name, err)
	}
	sliceIndexer, err := indexed(factory.Discovery().V1().EndpointSlices().Informer(), serviceIndex, indexByService)
	if err != nil {
		return nil, fmt.Errorf("making %s: indexing EndpointSlices: %w", Name, err)
	}
	client, err := v1alpha1.NewRESTClient(rest.AddUserAgent(rest.CopyConfig(handle.KubeConfig()), "vipload"))
	if err != nil {
		return nil, fmt.Errorf("making %s: making a client: %w", Name, err)
	}

	pl := &VIPLoad{
		ignoreExcludeLabel: typed.IgnoreExcludeLabel,
		measure:            load.MeasureOf(typed.Criteria),
		nodes:              newNodeStore(),
		endpoints:          sliceIndexer,
		tally:              newTally(),
		clock:              clock.RealClock{},
	}
	act := newActivator(handle, func() ([]*corev1.Pod, error) { return pendingIn(podIndexer) }, clock.RealClock{})
	informer, registration, err := newVIPNodeInformer(client, pl.nodes, act.nodeChanged)
	if err != nil {
		return nil, fmt.Errorf("making %s: making the VIPNode informer: %w", Name, err)
	}
	if err := watchEndpoints(factory, act); err != nil {
		return nil, fmt.Errorf("making %s: watching EndpointSlices: %w", Name, err)
	}

	syncCtx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := checkListable(syncCtx, client, resourceVIPNodes, "VIPNode"); err != nil {
		return nil, err
	}
	followers := []follower{{informer, registration}}
	if pl.measure.Measured() {
		if err := checkListable(syncCtx, client, resourceVIPNodeTraffics, "VIPNodeTraffic"); err != nil {
			return nil, fmt.Errorf("criteria %v: %w", pl.measure, err)
		}
		pl.meter = load.NewMeter()
		informer, registration, err := newTrafficInformer(client, pl.meter)
		if err != nil {
			return nil, fmt.Errorf("making %s: making the VIPNodeTraffic informer: %w", Name, err)
		}
		followers = append(followers, follower{informer, registration})
	}
	runCtx, stop := context.WithCancel(ctx)
	pl.stop = stop
	pl.running.Go(func() { act.run(runCtx) })
	for _, f := range followers {
		pl.running.Go(func() { f.informer.RunWithContext(runCtx) })
	}
	for _, f := range followers {
		select {
		case <-f.registration.HasSyncedChecker().Done():
		case <-syncCtx.Done():
			return nil, fmt.Errorf("waiting for the lists of VIPNodes and VIPNodeTraffics: %w", errors.Join(syncCtx.Err(), pl.Close()))
		}
	}
	return pl, nil
}

// follower is an informer with what tells that its handler has seen the first list.
type follower struct {
	informer     cache.SharedIndexInformer
	registration cache.ResourceEventHandlerRegistration
}

// Name returns the plugin's name.
func (pl *VIPLoad) Name() string { return Name }

// Close stops what New started and waits for it. It may be called twice.
func (pl *VIPLoad) Close() error {
	if pl.stop != nil {
		pl.stop()
	}
	pl.running.Wait()
	return nil
}

// indexed adds an index to an informer of the shared factory, unless another profile's plugin has done so.
func indexed(informer cache.SharedIndexInformer, name string, index cache.IndexFunc) (cache.Indexer, error) {
	if _, ok := informer.GetIndexer().GetIndexers()[name]; !ok {
		if err := informer.AddIndexers(cache.Indexers{name: index}); err != nil {
			return nil, err
		}
	}
	return informer.GetIndexer(), nil
}

// watchEndpoints tells the activator about Services whose endpoints change. The factory, which runs the handler, is started
// and ended by the scheduler.
func watchEndpoints(factory informers.SharedInformerFactory, act *activator) error {
	tell := func(obj any) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			if service, ok := endpoints.ServiceOf(slice); ok {
				act.endpointsChanged(service)
			}
		}
	}
	_, err := factory.Discovery().V1().EndpointSlices().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    tell,
		UpdateFunc: func(_, obj any) { tell(obj) },
		// An endpoint that goes makes no node fit, but where one family's last slice goes (see endpoints.Local), or the last ready one, so that those count that still serve.
		DeleteFunc: tell,
	})
	return err
}

package report

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/traffic"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	// lookAtTraffic is how often it is looked whether there is something to publish. Nothing is sent for that.
	lookAtTraffic = 5 * time.Second
	// trafficTimeout bounds a try to publish.
	trafficTimeout = 10 * time.Second
)

// TrafficOptions of a Traffic. All are required.
type TrafficOptions struct {
	// Name is this node's name.
	Name string
	// Client speaks evenkeel.io/v1alpha1; Nodes reads the Node that is to own the VIPNodeTraffic.
	Client rest.Interface
	Nodes  corev1client.NodesGetter
	// Measured returns the newest figures, and whether there are any yet.
	Measured func() (v1alpha1.VIPNodeTrafficStatus, bool)
	Clock    clock.WithTicker
}

// Traffic publishes what this node carries as its VIPNodeTraffic: at most every 30 seconds, and only what has changed (package traffic says
// when).
type Traffic struct {
	opts        TrafficOptions
	publication traffic.Publication
	// current is the object as it was last written or read; nil: to be read.
	current *v1alpha1.VIPNodeTraffic
}

// NewTraffic returns a writer; Run does the work.
func NewTraffic(opts TrafficOptions) *Traffic { return &Traffic{opts: opts} }

// Run publishes until ctx ends. What can't be published is measured on, and published with a later try.
func (t *Traffic) Run(ctx context.Context) error {
	t.publication.Begin(t.opts.Clock.Now())
	tick := t.opts.Clock.NewTicker(lookAtTraffic)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			t.look(ctx)
		}
	}
}

// look publishes what is measured if that is due.
func (t *Traffic) look(ctx context.Context) {
	now := t.opts.Clock.Now()
	status, ok := t.opts.Measured()
	if !ok || !t.publication.Due(status, now) {
		return
	}
	t.publication.Tried(now)
	ctx, cancel := context.WithTimeout(ctx, trafficTimeout)
	defer cancel()
	if err := t.write(ctx, status); err != nil {
		t.current = nil
		klog.FromContext(ctx).V(1).Info("What this node carries will be published later", "node", t.opts.Name, "err", err)
		return
	}
	t.publication.Published(status, now)
}

// write makes the VIPNodeTraffic say status: one request, two where it isn't known yet, and a third where it has to be made.
func (t *Traffic) write(ctx context.Context, status v1alpha1.VIPNodeTrafficStatus) error {
	if t.current == nil {
		current := &v1alpha1.VIPNodeTraffic{}
		err := t.opts.Client.Get().Resource("vipnodetraffics").Name(t.opts.Name).Do(ctx).Into(current)
		if apierrors.IsNotFound(err) {
			return t.create(ctx, status)
		}
		if err != nil {
			return fmt.Errorf("reading VIPNodeTraffic %s: %w", t.opts.Name, err)
		}
		t.current = current
	}
	next, written := t.current.DeepCopy(), &v1alpha1.VIPNodeTraffic{}
	next.Status = status
	if err := t.opts.Client.Put().Resource("vipnodetraffics").Name(t.opts.Name).Body(next).Do(ctx).Into(written); err != nil {
		return fmt.Errorf("writing VIPNodeTraffic %s: %w", t.opts.Name, err)
	}
	t.current = written
	return nil
}

// create makes the VIPNodeTraffic as the Node's own, so that it goes when the Node does.
func (t *Traffic) create(ctx context.Context, status v1alpha1.VIPNodeTrafficStatus) error {
	node, err := t.opts.Nodes.Nodes().Get(ctx, t.opts.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading Node %s, which is to own a VIPNodeTraffic: %w", t.opts.Name, err)
	}
	object := &v1alpha1.VIPNodeTraffic{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNodeTraffic"},
		ObjectMeta: metav1.ObjectMeta{
			Name:            t.opts.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		},
		Status: status,
	}
	created := &v1alpha1.VIPNodeTraffic{}
	if err := t.opts.Client.Post().Resource("vipnodetraffics").Body(object).Do(ctx).Into(created); err != nil {
		return fmt.Errorf("creating VIPNodeTraffic %s: %w", t.opts.Name, err)
	}
	t.current = created
	return nil
}

package report

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

// refreshVIPNode is how often an unchanged VIPNode is read, so that one which somebody deleted or changed is put right:
// one request a node and minute.
const refreshVIPNode = time.Minute

// refreshFirst is after what time a VIPNode is read for the second time, and each further pause is twice as long up to
// refreshVIPNode: the controller answers a new VIPNode with its neighbours.
const refreshFirst = time.Second

// refreshSuspect is how often a VIPNode is read while a suspicion against it stands, which its acknowledgement ends.
const refreshSuspect = time.Second

// removedWithin is how long an answer is waited for that an announcer may do without when it stops.
const removedWithin = 500 * time.Millisecond

// VIPNodeOptions of a VIPNode. All are required.
type VIPNodeOptions struct {
	// Name is this node's name.
	Name string
	// Client speaks evenkeel.io/v1alpha1; Nodes reads the Node that is to own the VIPNode.
	Client rest.Interface
	Nodes  corev1client.NodesGetter
	// OnWire says whether another machine was heard on the wire of late: only then is a suspicion against this node acknowledged.
	OnWire func() bool
	// Neighbours is told which nodes to watch whenever that was read. It must not block.
	Neighbours func([]v1alpha1.Neighbour)
}

// VIPNode keeps this node's VIPNode as it should be. Its methods are safe for concurrent use.
type VIPNode struct {
	opts VIPNodeOptions

	mu      sync.Mutex
	want    v1alpha1.VIPNodeStatus
	changed chan struct{}
}

// NewVIPNode returns a writer; Run does the work.
func NewVIPNode(opts VIPNodeOptions) *VIPNode {
	return &VIPNode{opts: opts, changed: make(chan struct{}, 1)}
}

// Update changes what the status should say. mutate must not keep what it is given.
func (v *VIPNode) Update(mutate func(*v1alpha1.VIPNodeStatus)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := v.want.DeepCopy()
	mutate(next)
	if equality.Semantic.DeepEqual(v.want, *next) {
		return
	}
	v.want = *next
	v.poke()
}

// Recheck has the VIPNode read soon: something happened that a suspicion may have led to.
func (v *VIPNode) Recheck() { v.poke() }

func (v *VIPNode) poke() {
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends.
func (v *VIPNode) Run(ctx context.Context) error {
	logger := klog.FromContext(ctx)
	backoff := func() wait.Backoff {
		return wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 7, Cap: 5 * time.Second}
	}
	retry := backoff()
	refresh := refreshFirst
	for {
		pause := refresh
		suspect, err := v.write(ctx)
		if suspect {
			pause = refreshSuspect
		}
		if err != nil && ctx.Err() == nil {
			logger.V(1).Info("Writing the VIPNode will be tried again", "node", v.opts.Name, "err", err)
			pause = retry.Step()
		} else {
			retry = backoff()
			refresh = min(2*refresh, refreshVIPNode)
		}
		timer := time.NewTimer(wait.Jitter(pause, 0.1))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-v.changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// write brings the VIPNode up to date. suspect says that a suspicion stands against the node.
func (v *VIPNode) write(ctx context.Context) (suspect bool, err error) {
	v.mu.Lock()
	want := *v.want.DeepCopy()
	v.mu.Unlock()

	current := &v1alpha1.VIPNode{}
	err = v.opts.Client.Get().Resource("vipnodes").Name(v.opts.Name).Do(ctx).Into(current)
	if apierrors.IsNotFound(err) {
		current, err = v.create(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("reading VIPNode %s: %w", v.opts.Name, err)
	}
	v.opts.Neighbours(current.Spec.Neighbours)
	if current.Spec.Suspect != nil {
		suspect = true
		want.SuspectAcknowledged = current.Status.SuspectAcknowledged
		if v.opts.OnWire() {
			want.SuspectAcknowledged = current.Spec.Suspect.ID
		}
	}
	// Transition times belong to what is stored, not to what is wanted.
	conditions := current.DeepCopy().Status.Conditions
	for _, condition := range want.Conditions {
		condition.LastTransitionTime = metav1.Time{}
		meta.SetStatusCondition(&conditions, condition)
	}
	want.Conditions = conditions
	if equality.Semantic.DeepEqual(current.Status, want) {
		return suspect, nil
	}
	current.Status = want
	err = v.opts.Client.Put().Resource("vipnodes").Name(v.opts.Name).SubResource("status").Body(current).Do(ctx).Error()
	if err != nil {
		return suspect, fmt.Errorf("writing the status of VIPNode %s: %w", v.opts.Name, err)
	}
	return suspect, nil
}

// Removed says whether the API server answers, at once, that there is no VIPNode of this node: somebody has deleted it, which takes the
// node's VIPs to other nodes. An API server that knows no VIPNodes at all (any more) says nothing of this one.
func (v *VIPNode) Removed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, removedWithin)
	defer cancel()
	err := v.opts.Client.Get().Resource("vipnodes").Name(v.opts.Name).MaxRetries(0).Do(ctx).Error()
	return apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err)
}

// create makes the VIPNode as the Node's own, so that it goes when the Node does.
func (v *VIPNode) create(ctx context.Context) (*v1alpha1.VIPNode, error) {
	node, err := v.opts.Nodes.Nodes().Get(ctx, v.opts.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading Node %s, which is to own it: %w", v.opts.Name, err)
	}
	vipNode := &v1alpha1.VIPNode{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "VIPNode"},
		ObjectMeta: metav1.ObjectMeta{
			Name:            v.opts.Name,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}},
		},
	}
	created := &v1alpha1.VIPNode{}
	if err := v.opts.Client.Post().Resource("vipnodes").Body(vipNode).Do(ctx).Into(created); err != nil {
		return nil, fmt.Errorf("creating: %w", err)
	}
	return created, nil
}

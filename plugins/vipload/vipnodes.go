package vipload

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"evenkeel.io/evenkeel/api/eligible"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

const (
	resourceVIPNodes = "vipnodes"

	// syncTimeout bounds the wait for the first list of VIPNodes. Leader election starts only afterwards.
	syncTimeout = time.Minute
	// probeInterval between attempts while the API server doesn't answer.
	probeInterval = time.Second
)

// checkListable returns nil once the objects of a kind can be listed. A cluster without the CRD, or without the right to read it,
// is an error at once: an informer would try for ever and the scheduler would hang without a word.
func checkListable(ctx context.Context, client rest.Interface, resource, kind string) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, probeInterval, true, func(ctx context.Context) (bool, error) {
		last = client.Get().Resource(resource).VersionedParams(&metav1.ListOptions{Limit: 1}, metav1.ParameterCodec).Do(ctx).Error()
		switch {
		case last == nil:
			return true, nil
		case apierrors.IsNotFound(last):
			return false, fmt.Errorf("the cluster doesn't know %ss: install Evenkeel's custom resource definitions first (manifests/crd): %w", kind, last)
		case apierrors.IsForbidden(last), apierrors.IsUnauthorized(last):
			return false, fmt.Errorf("the scheduler may not read %ss: it needs get, list and watch on %s of evenkeel.io: %w", kind, resource, last)
		}
		if ctx.Err() != nil {
			return false, nil // the end of the wait is reported below, with this error
		}
		klog.FromContext(ctx).Error(last, "Objects that VIPLoad needs can't be listed, trying again", "kind", kind)
		return false, nil
	})
	if err != nil && ctx.Err() != nil && last != nil {
		return fmt.Errorf("listing %ss: %w", kind, errors.Join(err, last))
	}
	return err
}

// newVIPNodeInformer makes an informer that keeps the store up to date, then calls changed. It is returned with the
// registration that tells when the store has the first list.
func newVIPNodeInformer(client *rest.RESTClient, store *nodeStore, changed func()) (cache.SharedIndexInformer, cache.ResourceEventHandlerRegistration, error) {
	lw := cache.NewListWatchFromClient(client, resourceVIPNodes, metav1.NamespaceAll, fields.Everything())
	informer := cache.NewSharedIndexInformerWithOptions(lw, &v1alpha1.VIPNode{}, cache.SharedIndexInformerOptions{ObjectDescription: "VIPNode"})
	if err := informer.SetTransform(stripManagedFields); err != nil {
		return nil, nil, err
	}
	set := func(obj any) {
		if node, ok := obj.(*v1alpha1.VIPNode); ok && store.set(node.Name, eligible.FactsOf(node)) {
			changed()
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, obj any) { set(obj) },
		DeleteFunc: func(obj any) { // nobody fits because of a node that has lost its announcer: nothing to activate
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				store.drop(name) // cluster-scoped: the key is the name
			}
		},
	})
	return informer, registration, err
}

// stripManagedFields saves the memory of what nobody reads.
func stripManagedFields(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return obj, nil
}

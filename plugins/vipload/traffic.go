package vipload

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"evenkeel.io/evenkeel/api/load"
	"evenkeel.io/evenkeel/api/v1alpha1"
)

const resourceVIPNodeTraffics = "vipnodetraffics"

// newTrafficInformer makes an informer that keeps the meter up to date. What nodes carry makes none fit that didn't, so no pending
// placeholder is tried again for it.
func newTrafficInformer(client *rest.RESTClient, meter *load.Meter) (cache.SharedIndexInformer, cache.ResourceEventHandlerRegistration, error) {
	lw := cache.NewListWatchFromClient(client, resourceVIPNodeTraffics, metav1.NamespaceAll, fields.Everything())
	informer := cache.NewSharedIndexInformerWithOptions(lw, &v1alpha1.VIPNodeTraffic{}, cache.SharedIndexInformerOptions{ObjectDescription: "VIPNodeTraffic"})
	if err := informer.SetTransform(stripManagedFields); err != nil {
		return nil, nil, err
	}
	observe := func(obj any) {
		if traffic, ok := obj.(*v1alpha1.VIPNodeTraffic); ok {
			meter.Observe(traffic)
		}
	}
	registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    observe,
		UpdateFunc: func(_, obj any) { observe(obj) },
		DeleteFunc: func(obj any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
				meter.Forget(name) // cluster-scoped: the key is the name
			}
		},
	})
	return informer, registration, err
}

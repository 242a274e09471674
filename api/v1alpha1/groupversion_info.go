// Package v1alpha1 holds Evenkeel's own API objects: VIP, VIPPool and VIPNode.
//
// +kubebuilder:object:generate=true
// +groupName=evenkeel.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of the objects in this package.
var GroupVersion = schema.GroupVersion{Group: "evenkeel.io", Version: "v1alpha1"}

var schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers the objects of this package.
var AddToScheme = schemeBuilder.AddToScheme

// Resource returns the group resource of a plural name, for errors and RBAC.
func Resource(resource string) schema.GroupResource {
	return GroupVersion.WithResource(resource).GroupResource()
}

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&VIP{}, &VIPList{},
		&VIPPool{}, &VIPPoolList{},
		&VIPNode{}, &VIPNodeList{},
		&VIPNodeTraffic{}, &VIPNodeTrafficList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}

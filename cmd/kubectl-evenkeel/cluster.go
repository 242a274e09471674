package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"evenkeel.io/evenkeel/api/placeholder"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/api/version"
)

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme))
}

// connectWith makes clients as kubectl's flags say.
func connectWith(flags *genericclioptions.ConfigFlags) func() (client.Client, error) {
	return func() (client.Client, error) {
		config, err := flags.ToRESTConfig()
		if err != nil {
			return nil, err
		}
		config.UserAgent = "kubectl-evenkeel/" + version.String()
		scheme, err := newScheme()
		if err != nil {
			return nil, err
		}
		return client.New(config, client.Options{Scheme: scheme})
	}
}

// snapshot is the cluster as it is shown and planned by. Nothing in it is changed.
type snapshot struct {
	now      time.Time
	nodes    []corev1.Node
	vipNodes []v1alpha1.VIPNode
	vips     []v1alpha1.VIP
	pools    []v1alpha1.VIPPool
	// pods are the placeholders.
	pods     []corev1.Pod
	services []corev1.Service
	// traffic is empty where nobody measures it.
	traffic []v1alpha1.VIPNodeTraffic
}

// look reads the cluster.
func (o *options) look(ctx context.Context, c client.Client) (snapshot, error) {
	var (
		nodes    corev1.NodeList
		vipNodes v1alpha1.VIPNodeList
		vips     v1alpha1.VIPList
		pools    v1alpha1.VIPPoolList
		pods     corev1.PodList
		services corev1.ServiceList
		traffic  v1alpha1.VIPNodeTrafficList
	)
	for _, list := range []struct {
		what    string
		into    client.ObjectList
		options []client.ListOption
	}{
		{"VIPs", &vips, nil},
		{"VIPPools", &pools, nil},
		{"VIPNodes", &vipNodes, nil},
		{"nodes", &nodes, nil},
		{"placeholder pods in " + o.namespace, &pods, []client.ListOption{client.InNamespace(o.namespace), client.HasLabels{placeholder.LabelVIP}}},
		{"services", &services, nil},
	} {
		if err := c.List(ctx, list.into, list.options...); err != nil {
			return snapshot{}, explain("listing "+list.what, err)
		}
	}
	if err := c.List(ctx, &traffic); err != nil && !missing(err) && !apierrors.IsForbidden(err) {
		return snapshot{}, explain("listing VIPNodeTraffics", err)
	}
	return snapshot{
		now: o.clock.Now(), nodes: nodes.Items, vipNodes: vipNodes.Items, vips: vips.Items, pools: pools.Items, pods: pods.Items,
		services: services.Items, traffic: traffic.Items,
	}, nil
}

func missing(err error) bool {
	return meta.IsNoMatchError(err) || apierrors.IsNotFound(err)
}

// explain says what to do about an error of the API server's, where that is known.
func explain(doing string, err error) error {
	switch {
	case meta.IsNoMatchError(err):
		return fmt.Errorf("%s: the cluster doesn't know %s. Is Evenkeel installed there (kubectl apply -k manifests/base), and is it the cluster that you mean (kubectl config current-context)?",
			doing, v1alpha1.GroupVersion.Group)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w. Ask for the right, or use --context or --as for an identity that has it", doing, err)
	case utilnet.IsConnectionRefused(err) || utilnet.IsTimeout(err):
		return fmt.Errorf("%s: the API server doesn't answer: %w. Is it the cluster that you mean (kubectl config current-context)?", doing, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

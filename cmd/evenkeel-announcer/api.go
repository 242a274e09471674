package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"evenkeel.io/evenkeel/announcer/agent"
	"evenkeel.io/evenkeel/announcer/follow"
	"evenkeel.io/evenkeel/announcer/report"
	"evenkeel.io/evenkeel/api/v1alpha1"
	"evenkeel.io/evenkeel/api/version"
)

// api is the side of the announcer that deals with the API server: one watch of its node's pods, and what it reports.
type api struct {
	client  kubernetes.Interface
	own     rest.Interface // speaks evenkeel.io
	pods    *report.Pods
	vipNode *report.VIPNode
}

func newAPI(opts *options, onWire func() bool, neighbours func([]v1alpha1.Neighbour)) (*api, error) {
	config, err := clientConfig(opts.kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	own, err := v1alpha1.NewRESTClient(config)
	if err != nil {
		return nil, err
	}
	return &api{
		client: client,
		own:    own,
		pods:   report.NewPods(client.CoreV1(), clock.RealClock{}),
		vipNode: report.NewVIPNode(report.VIPNodeOptions{
			Name: opts.nodeName, Client: own, Nodes: client.CoreV1(), OnWire: onWire, Neighbours: neighbours,
		}),
	}, nil
}

func clientConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("finding the API server (give --kubeconfig outside of a pod): %w", err)
	}
	config.UserAgent = "evenkeel-announcer/" + version.String()
	// Enough for a node that gets all VIPs of another one at once; a steady node asks for nothing.
	config.QPS, config.Burst = 50, 200
	return config, nil
}

// follow tells the agent of every placeholder on this node until ctx ends. While the API server is away it keeps trying, and
// the agent keeps what it has.
func (a *api) follow(ctx context.Context, opts *options, node *agent.Agent) error {
	follow.Pods(ctx, a.client, opts.namespace, opts.nodeName, followed{node, a.vipNode})
	return nil
}

// followed is the agent, and what else a placeholder's end means.
type followed struct {
	*agent.Agent
	vipNode *report.VIPNode
}

// PodGone tells the agent. A placeholder that was taken away may mean that this node is suspected.
func (f followed) PodGone(ctx context.Context, pod *corev1.Pod) {
	f.Agent.PodGone(ctx, pod)
	f.vipNode.Recheck()
}

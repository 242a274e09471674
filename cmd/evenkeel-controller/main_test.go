package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"evenkeel.io/evenkeel/api/v1alpha1"
)

func TestFlags(t *testing.T) {
	tests := []struct {
		name string
		args []string
		err  string
	}{
		{name: "none"},
		{name: "all of the contract", args: []string{"--kubeconfig", "f", "--namespace", "evenkeel-system", "--load-balancer-class", "evenkeel.io/l2", "--default", "--leader-elect",
			"--metrics-bind-address", ":1", "--health-probe-bind-address", ":2", "--kube-api-qps", "1", "--kube-api-burst", "2", "--address-lifetime", "6s", "--linger", "10s", "--placeholder-image", "x"}},
		{name: "a namespace that is none", args: []string{"--namespace", "A b"}, err: "--namespace"},
		{name: "a lifetime below the kernel's granularity", args: []string{"--address-lifetime", "10ms"}, err: "--address-lifetime"},
		{name: "no class", args: []string{"--load-balancer-class", ""}, err: "--load-balancer-class"},
		{name: "other criteria", args: []string{"--load-criteria", "Traffic,Count"}},
		{name: "no criteria", args: []string{"--load-criteria", ""}, err: "--load-criteria: Required value"},
		{name: "a criterion that nobody knows", args: []string{"--load-criteria", "Count,Memory"}, err: `--load-criteria[1]: Unsupported value: "Memory"`},
		{name: "a criterion twice", args: []string{"--load-criteria", "Count,Count"}, err: "--load-criteria[1]: Duplicate value"},
		{name: "a mode of evening out that only pools have", args: []string{"--rebalance-mode", "Window"}, err: "--rebalance-mode"},
		{name: "no workers", args: []string{"--workers", "0"}, err: "--workers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := defaultOptions()
			if err := flagSet(o.flagSets()).Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			if err := o.validate(); (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
	if o := defaultOptions(); o.addressLifetime+o.linger != 16*time.Second {
		t.Errorf("addresses are free again after %s", o.addressLifetime+o.linger)
	}
}

// api answers discovery.
type api struct {
	list *metav1.APIResourceList
	err  error
}

func (a api) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return a.list, a.err
}

func TestMissingKinds(t *testing.T) {
	list := func(names ...string) *metav1.APIResourceList {
		var l metav1.APIResourceList
		for _, name := range names {
			l.APIResources = append(l.APIResources, metav1.APIResource{Name: name})
		}
		return &l
	}
	tests := []struct {
		name    string
		api     api
		missing string
		err     bool
	}{
		{name: "all there", api: api{list: list("vips", "vips/status", "vippools", "vipnodes", "vipnodetraffics")}},
		{name: "one missing", api: api{list: list("vips", "vippools")}, missing: "vipnodes.evenkeel.io"},
		{name: "the figures missing that the default criteria need", api: api{list: list("vips", "vippools", "vipnodes")}, missing: "vipnodetraffics.evenkeel.io"},
		{name: "none there", api: api{err: apierrors.NewNotFound(v1alpha1.Resource("vips"), "")}, missing: "evenkeel.io/v1alpha1: apply the CustomResourceDefinitions"},
		{name: "no answer", api: api{err: errors.New("connection refused")}, err: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			missing, err := missingKinds(tt.api, defaultOptions().kinds())
			if (err != nil) != tt.err || (missing != nil) != (tt.missing != "") || missing != nil && !strings.Contains(missing.Error(), tt.missing) {
				t.Errorf("got missing %v, error %v", missing, err)
			}
		})
	}
}

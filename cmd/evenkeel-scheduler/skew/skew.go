// Package skew decides how a scheduler of this Kubernetes release has to behave towards a control plane of another one.
//
// A 1.37 scheduler asks for APIs that older control planes lack and waits for them for ever: it starts an informer on
// DeviceTaintRules (resource.k8s.io/v1, new in 1.37) whether or not its profile uses dynamic resource allocation.
package skew

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
)

// The control planes that are served. Below 1.34 resource.k8s.io/v1 is missing as a whole, and a 1.37 binary emulates at
// most three releases back (KEP-4330). Above its own release a scheduler is not supported at all (version skew policy).
const (
	major    = 1
	minMinor = 34
	maxMinor = 37
)

// Flags are values for kube-scheduler's own flags; an empty one means that the flag isn't needed.
type Flags struct {
	EmulatedVersion string // of --emulated-version, such as "1.36"
	FeatureGates    string // of --feature-gates, without a component's name
}

// Plan returns the flags for a control plane by the version it reports ("v1.36.2+k3s1"), or an error that says what to do.
func Plan(serverVersion string) (Flags, error) {
	v, err := version.ParseGeneric(serverVersion)
	if err != nil {
		return Flags{}, fmt.Errorf("reading the control plane's version %q: %w", serverVersion, err)
	}
	switch {
	case v.Major() != major || v.Minor() > maxMinor:
		return Flags{}, fmt.Errorf("the control plane is Kubernetes %s, this scheduler serves %d.%d to %d.%d: use a newer release of Evenkeel",
			serverVersion, major, minMinor, major, maxMinor)
	case v.Minor() < minMinor:
		return Flags{}, fmt.Errorf("the control plane is Kubernetes %s, this scheduler serves %d.%d to %d.%d: upgrade the cluster",
			serverVersion, major, minMinor, major, maxMinor)
	case v.Minor() == maxMinor:
		// While a control plane is being upgraded some of its API servers are one release older than the one that was
		// asked. We have no use for devices, so we don't ask any for their taints.
		return Flags{FeatureGates: "DRADeviceTaintRules=false"}, nil
	}
	return Flags{EmulatedVersion: fmt.Sprintf("%d.%d", v.Major(), v.Minor())}, nil
}

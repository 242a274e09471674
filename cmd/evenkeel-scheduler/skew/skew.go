// Package skew decides how a scheduler of this Kubernetes release has to behave towards a control plane of another one.
//
// A 1.37 scheduler asks for APIs that older control planes lack and waits for them for ever: it starts an informer on
// DeviceTaintRules (resource.k8s.io/v1, new in 1.37) whether or not its profile uses dynamic resource allocation.
package skew

import (
	"fmt"
	"strings"

	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/version"
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

// Plan returns the flags for a control plane that describes itself so, or an error that says what to do.
func Plan(server version.Info) (Flags, error) {
	v, err := release(server)
	if err != nil {
		return Flags{}, err
	}
	switch {
	case v.Major() != major || v.Minor() > maxMinor:
		return Flags{}, fmt.Errorf("the control plane is Kubernetes %s, this scheduler serves %d.%d to %d.%d: use a newer release of Evenkeel",
			describe(v, server), major, minMinor, major, maxMinor)
	case v.Minor() < minMinor:
		return Flags{}, fmt.Errorf("the control plane is Kubernetes %s, this scheduler serves %d.%d to %d.%d: upgrade the cluster",
			describe(v, server), major, minMinor, major, maxMinor)
	case v.Minor() == maxMinor:
		// While a control plane is being upgraded some of its API servers are one release older than the one that was
		// asked. We have no use for devices, so we don't ask any for their taints.
		return Flags{FeatureGates: "DRADeviceTaintRules=false"}, nil
	}
	return Flags{EmulatedVersion: fmt.Sprintf("%d.%d", v.Major(), v.Minor())}, nil
}

// release returns which release's APIs a control plane serves: the one it emulates, where it says so (since 1.34), its own
// otherwise. The numbers are preferred to gitVersion, which an API server built without version stamps reports as v0.0.0.
func release(server version.Info) (*utilversion.Version, error) {
	for _, pair := range [][2]string{{server.EmulationMajor, server.EmulationMinor}, {server.Major, server.Minor}} {
		// Some distributions write a minor version as "37+".
		if v, err := utilversion.ParseMajorMinor(pair[0] + "." + strings.TrimRight(pair[1], "+")); err == nil && v.Major() > 0 {
			return v, nil
		}
	}
	v, err := utilversion.ParseGeneric(server.GitVersion)
	if err != nil {
		return nil, fmt.Errorf("reading the control plane's version %q: %w", server.GitVersion, err)
	}
	return v, nil
}

func describe(v *utilversion.Version, server version.Info) string {
	if server.GitVersion == "" {
		return fmt.Sprintf("%d.%d", v.Major(), v.Minor())
	}
	return fmt.Sprintf("%d.%d (%s)", v.Major(), v.Minor(), server.GitVersion)
}

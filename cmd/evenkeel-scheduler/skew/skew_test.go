package skew

import (
	"strings"
	"testing"

	utilversion "k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/version"
	baseversion "k8s.io/component-base/version"
)

func TestPlan(t *testing.T) {
	gates := Flags{FeatureGates: "DRADeviceTaintRules=false"}
	tests := []struct {
		name    string
		server  version.Info
		want    Flags
		wantErr string
	}{
		{name: "own release asks for no device taints", server: version.Info{Major: "1", Minor: "37", GitVersion: "v1.37.2"}, want: gates},
		{name: "own release before its final version", server: version.Info{GitVersion: "v1.37.0-rc.1"}, want: gates},
		{name: "one release older is emulated", server: version.Info{Major: "1", Minor: "36", GitVersion: "v1.36.0"}, want: Flags{EmulatedVersion: "1.36"}},
		{name: "two releases older is emulated", server: version.Info{Major: "1", Minor: "35"}, want: Flags{EmulatedVersion: "1.35"}},
		{name: "oldest release is emulated", server: version.Info{Major: "1", Minor: "34", GitVersion: "v1.34.4"}, want: Flags{EmulatedVersion: "1.34"}},
		{name: "server without version stamps", server: version.Info{Major: "1", Minor: "34", GitVersion: "v0.0.0-master+$Format:%H$"}, want: Flags{EmulatedVersion: "1.34"}},
		{name: "server that emulates an older release serves its APIs only", server: version.Info{Major: "1", Minor: "37", EmulationMajor: "1", EmulationMinor: "36"}, want: Flags{EmulatedVersion: "1.36"}},
		{name: "newer server that emulates a release we know", server: version.Info{Major: "1", Minor: "38", EmulationMajor: "1", EmulationMinor: "37"}, want: gates},
		{name: "minor version with a plus", server: version.Info{Major: "1", Minor: "36+", GitVersion: "v1.36.1-eks-3025e55"}, want: Flags{EmulatedVersion: "1.36"}},
		{name: "K3s suffix", server: version.Info{GitVersion: "v1.34.4+k3s1"}, want: Flags{EmulatedVersion: "1.34"}},
		{name: "GKE suffix", server: version.Info{GitVersion: "v1.35.2-gke.1269001"}, want: Flags{EmulatedVersion: "1.35"}},
		{name: "too old", server: version.Info{Major: "1", Minor: "33", GitVersion: "v1.33.9"}, wantErr: "is Kubernetes 1.33 (v1.33.9), this scheduler serves 1.34 to 1.37: upgrade the cluster"},
		{name: "too new", server: version.Info{Major: "1", Minor: "38"}, wantErr: "is Kubernetes 1.38, this scheduler serves 1.34 to 1.37: use a newer release of Evenkeel"},
		{name: "another major version", server: version.Info{GitVersion: "v2.0.0"}, wantErr: "newer release of Evenkeel"},
		{name: "no version", server: version.Info{}, wantErr: "reading the control plane's version"},
		{name: "no number", server: version.Info{GitVersion: "latest"}, wantErr: "reading the control plane's version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Plan(tt.server)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// The range moves with the Kubernetes that is built in: this fails when go.mod is bumped and the constants are not.
func TestRangeFollowsTheRelease(t *testing.T) {
	own := utilversion.MustParseGeneric(baseversion.DefaultKubeBinaryVersion)
	if own.Major() != major || own.Minor() != maxMinor {
		t.Errorf("built with Kubernetes %s, but the newest control plane served is %d.%d", own, major, maxMinor)
	}
	if maxMinor-minMinor != 3 {
		t.Errorf("%d releases back are served, a binary emulates 3", maxMinor-minMinor)
	}
}

package skew

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"
	baseversion "k8s.io/component-base/version"
)

func TestPlan(t *testing.T) {
	tests := []struct {
		name    string
		server  string
		want    Flags
		wantErr string
	}{
		{name: "own release asks for no device taints", server: "v1.37.2", want: Flags{FeatureGates: "DRADeviceTaintRules=false"}},
		{name: "own release before its final version", server: "v1.37.0-rc.1", want: Flags{FeatureGates: "DRADeviceTaintRules=false"}},
		{name: "one release older is emulated", server: "v1.36.0", want: Flags{EmulatedVersion: "1.36"}},
		{name: "two releases older is emulated", server: "v1.35.11", want: Flags{EmulatedVersion: "1.35"}},
		{name: "oldest release is emulated", server: "v1.34.4", want: Flags{EmulatedVersion: "1.34"}},
		{name: "K3s suffix", server: "v1.34.4+k3s1", want: Flags{EmulatedVersion: "1.34"}},
		{name: "EKS suffix", server: "v1.36.1-eks-3025e55", want: Flags{EmulatedVersion: "1.36"}},
		{name: "GKE suffix", server: "v1.35.2-gke.1269001", want: Flags{EmulatedVersion: "1.35"}},
		{name: "too old", server: "v1.33.9", wantErr: "upgrade the cluster"},
		{name: "too new", server: "v1.38.0", wantErr: "newer release of Evenkeel"},
		{name: "another major version", server: "v2.0.0", wantErr: "newer release of Evenkeel"},
		{name: "no version", server: "", wantErr: "reading the control plane's version"},
		{name: "no number", server: "latest", wantErr: "reading the control plane's version"},
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
	own := version.MustParseGeneric(baseversion.DefaultKubeBinaryVersion)
	if own.Major() != major || own.Minor() != maxMinor {
		t.Errorf("built with Kubernetes %s, but the newest control plane served is %d.%d", own, major, maxMinor)
	}
	if maxMinor-minMinor != 3 {
		t.Errorf("%d releases back are served, a binary emulates 3", maxMinor-minMinor)
	}
}

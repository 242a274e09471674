package binaries

import (
	"strings"
	"testing"
)

func TestParseVersions(t *testing.T) {
	const good = `module example

require (
	k8s.io/kubernetes v1.37.2
	go.etcd.io/etcd/server/v3 v3.7.0 // indirect
)

require sigs.k8s.io/kwok v0.8.0

replace k8s.io/api => k8s.io/api v0.37.2

tool sigs.k8s.io/kwok/cmd/kwok
`
	tests := []struct {
		name, gomod, want, wantErr string
	}{
		{name: "requirements in blocks, alone and indirect", gomod: good, want: "kubernetes-v1.37.2_etcd-v3.7.0_kwok-v0.8.0_" + platform()},
		{name: "a missing module is named", gomod: strings.ReplaceAll(good, "sigs.k8s.io/kwok v0.8.0", "x.y/z v1.0.0"), wantErr: `sigs.k8s.io/kwok ("")`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseVersions(tt.gomod)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("got error %v, want one with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.key() != tt.want {
				t.Errorf("key: got %s, want %s", got.key(), tt.want)
			}
			if flags := got.ldflags(); !strings.Contains(flags, "gitVersion=v1.37.2 ") || !strings.Contains(flags, "gitMinor=37") {
				t.Errorf("ldflags don't stamp the version: %s", flags)
			}
		})
	}
}

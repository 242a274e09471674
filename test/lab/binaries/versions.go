package binaries

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// versions of the modules that the binaries come from.
type versions struct {
	kubernetes, kwok, etcd string
}

// key names the cache folder of these versions.
func (v versions) key() string {
	return fmt.Sprintf("kubernetes-%s_etcd-%s_kwok-%s_%s", v.kubernetes, v.etcd, v.kwok, platform())
}

// ldflags strip the binaries and stamp the version that the API server tells;
// unstamped, Kubernetes built as a module calls itself v0.0.0-master.
func (v versions) ldflags() string {
	major, minor := "1", ""
	if parts := strings.Split(strings.TrimPrefix(v.kubernetes, "v"), "."); len(parts) >= 2 {
		major, minor = parts[0], parts[1]
	}
	const pkg = "k8s.io/component-base/version"
	return fmt.Sprintf("-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s", pkg, v.kubernetes, major, minor)
}

// readVersions takes the versions from the go.mod of dir or the nearest folder
// above it.
func readVersions(dir string) (versions, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return versions{}, fmt.Errorf("finding go.mod: %w", err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			return parseVersions(string(data))
		}
		if !errors.Is(err, os.ErrNotExist) {
			return versions{}, fmt.Errorf("reading go.mod: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return versions{}, fmt.Errorf("no go.mod here or above: run inside the repository, or set %s to a folder with the control plane's binaries", DirEnv)
		}
		dir = parent
	}
}

var requirement = regexp.MustCompile(`(?m)^\s*(?:require\s+)?(\S+) (v\S+)(?:\s*//.*)?$`)

// parseVersions reads the requirements of a go.mod.
func parseVersions(gomod string) (versions, error) {
	var v versions
	for _, m := range requirement.FindAllStringSubmatch(gomod, -1) {
		switch m[1] {
		case "k8s.io/kubernetes":
			v.kubernetes = m[2]
		case "sigs.k8s.io/kwok":
			v.kwok = m[2]
		case "go.etcd.io/etcd/server/v3":
			v.etcd = m[2]
		}
	}
	if v.kubernetes == "" || v.kwok == "" || v.etcd == "" {
		return versions{}, fmt.Errorf("go.mod must require k8s.io/kubernetes (%q), sigs.k8s.io/kwok (%q) and go.etcd.io/etcd/server/v3 (%q)", v.kubernetes, v.kwok, v.etcd)
	}
	return v, nil
}

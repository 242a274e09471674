// Package version says which version of Evenkeel a binary is.
package version

import "runtime/debug"

// stamped is set at link time: -ldflags "-X evenkeel.io/evenkeel/api/version.stamped=v1.2.3". It is not Kubernetes' own version
// variable, from which the scheduler derives the Kubernetes version that it emulates.
var stamped string

// String returns the version that was stamped into the binary, else the commit it was built from, else "dev".
func String() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
				return "dev-" + setting.Value[:12]
			}
		}
	}
	return "dev"
}

package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/pflag"
)

// versionRequested says whether --version was given. kube-scheduler's --version=vX, which makes it report another version
// of Kubernetes, is left to it.
func versionRequested(flags *pflag.FlagSet) bool {
	value := flags.Lookup("version").Value.String()
	return value == "true" || value == "raw"
}

// version names this program's version and the Kubernetes that it is made of, as the Go toolchain recorded them.
func version() string {
	own, kubernetes, compiler := "(devel)", "(unknown)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		compiler = info.GoVersion
		if info.Main.Version != "" {
			own = info.Main.Version
		}
		for _, module := range info.Deps {
			if module.Path == "k8s.io/kubernetes" {
				kubernetes = module.Version
			}
		}
	}
	return fmt.Sprintf("evenkeel-scheduler %s (Kubernetes %s, %s)", own, kubernetes, compiler)
}

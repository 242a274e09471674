package main

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/pflag"

	"evenkeel.io/evenkeel/api/version"
)

// versionRequested says whether --version was given. kube-scheduler's --version=vX, which makes it report another version
// of Kubernetes, is left to it.
func versionRequested(flags *pflag.FlagSet) bool {
	value := flags.Lookup("version").Value.String()
	return value == "true" || value == "raw"
}

// describeVersion names this program's version and the Kubernetes that it is made of.
func describeVersion() string {
	kubernetes, compiler := "(unknown)", "go"
	if info, ok := debug.ReadBuildInfo(); ok {
		compiler = info.GoVersion
		for _, module := range info.Deps {
			if module.Path == "k8s.io/kubernetes" {
				kubernetes = module.Version
			}
		}
	}
	return fmt.Sprintf("evenkeel-scheduler %s (Kubernetes %s, %s)", version.String(), kubernetes, compiler)
}

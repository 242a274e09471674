// Package scheduler holds the configuration that evenkeel-scheduler ships with, for the binary that has it built in.
package scheduler

import _ "embed"

// Config is a KubeSchedulerConfiguration: the file scheduler-config.yaml.
//
//go:embed scheduler-config.yaml
var Config string

// Package e2e tests Evenkeel as a whole: the real programs under the shipped manifests, on a real cluster, with real packets.
package e2e

import (
	"os"
	"testing"

	"evenkeel.io/evenkeel/test/lab"
)

func TestMain(m *testing.M) {
	lab.Enter()
	os.Exit(m.Run())
}

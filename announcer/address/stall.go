package address

import (
	"os"
	"strings"
	"time"
)

// StallFileEnv names the environment variable of StallHook.
const StallFileEnv = "EVENKEEL_TEST_STALL_FILE"

// StallHook returns a function for Options.BeforeRenewal that lets a test stall this process at the worst moment: when
// the file that the environment variable names exists, it is removed and the process waits for the duration that it
// contained ("7s"). Without the variable it returns nil, and nothing is ever waited for.
func StallHook() func() {
	path := os.Getenv(StallFileEnv)
	if path == "" {
		return nil
	}
	return func() {
		content, err := os.ReadFile(path)
		if err != nil {
			return
		}
		d, err := time.ParseDuration(strings.TrimSpace(string(content)))
		if err != nil || os.Remove(path) != nil {
			return
		}
		time.Sleep(d)
	}
}

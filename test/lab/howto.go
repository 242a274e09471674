package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Howto tells a person how to reach the running lab from another terminal.
func (c *Cluster) Howto() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe lab runs. In another terminal, this opens a shell inside it:\n\n")
	fmt.Fprintf(&b, "  sudo nsenter -t %s -p -n -m env KUBECONFIG=%s PATH=%s:$PATH bash\n\n", outerPID(), c.Kubeconfig, c.bin)
	fmt.Fprintf(&b, "There:\n\n")
	fmt.Fprintf(&b, "  kubectl get nodes -o wide\n")
	fmt.Fprintf(&b, "  ip netns exec client curl http://ADDRESS/     # a machine on the segment; far-client is one behind the router\n")
	for _, n := range c.Nodes {
		fmt.Fprintf(&b, "  ip netns exec %s ip address              # %s\n", n.name, n.V4)
	}
	fmt.Fprintf(&b, "  ls %s        # logs\n\n", filepath.Join(c.dir, "logs"))
	return b.String()
}

// outerPIDEnv carries the number that the lab's first process has outside its PID
// namespace.
const outerPIDEnv = "EVENKEEL_LAB_OUTER_PID"

func outerPID() string {
	if pid := os.Getenv(outerPIDEnv); pid != "" {
		return pid
	}
	return "PID"
}

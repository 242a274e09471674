package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// childEnv makes this test binary a lab that tells its PID and waits to be killed.
const childEnv = "EVENKEEL_LAB_TEST_CHILD"

// child starts a small cluster, says so, and waits for its end.
func child() {
	c, err := Start(context.Background(), Options{Nodes: 1})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("ready", c.Nodes[0].V4)
	select {}
}

// TestKilled shows that nothing is left of a lab whose program is killed, while
// another one runs beside it on the same machine.
func TestKilled(t *testing.T) {
	ctx, c := start(t, Options{Nodes: 1})
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("the other lab says %q, %v", line, err)
	}
	// Same addresses, same ports, two clusters.
	if line != "ready "+c.Nodes[0].V4.String()+"\n" {
		t.Errorf("the other lab says %q, want the same address as here", line)
	}
	inner := descendants(t, cmd.Process.Pid)
	if len(inner) < 6 {
		t.Errorf("the other lab has processes %v: want a control plane and a node", inner)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	within(ctx, t, func(context.Context) error {
		for _, pid := range inner {
			if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("process %d of the killed lab lives", pid)
			}
		}
		return nil
	})
	if err := c.nodeReady(ctx, "node-1"); err != nil {
		t.Errorf("the lab that goes on: %v", err)
	}
}

// descendants lists the processes below pid.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, task := range tasks {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, child), descendants(t, child)...)
		}
	}
	return out
}

package lab

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// exitEnv makes this test binary a program of a few lines instead.
const exitEnv = "EVENKEEL_LAB_TEST_EXIT"

// program plays the part that exitEnv names and returns its exit code.
func program(part string) int {
	switch part {
	case "exit":
		fmt.Println("to stdout", os.Getpid() > 1, strings.Join(os.Args[1:], " "))
		fmt.Fprintln(os.Stderr, "to stderr")
		return 7
	case "wait":
		terminated := make(chan os.Signal, 1)
		signal.Notify(terminated, unix.SIGTERM)
		fmt.Println("waiting")
		select {
		case <-terminated:
			fmt.Println("terminated")
			return 8
		case <-time.After(limit):
			return 9
		}
	case "interfaces":
		all, err := net.Interfaces()
		fmt.Println(len(all), all[0].Name, err)
		return 0
	}
	return 10
}

func TestEnter(t *testing.T) {
	command := func(part string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
		cmd.Env = append(os.Environ(), exitEnv+"="+part)
		return cmd
	}
	t.Run("exit code, arguments and streams pass through", func(t *testing.T) {
		cmd := command("exit", "-a", "b c")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		var exited *exec.ExitError
		if !errors.As(err, &exited) || exited.ExitCode() != 7 {
			t.Errorf("got %v, want exit code 7", err)
		}
		if string(out) != "to stdout true -a b c\n" || stderr.String() != "to stderr\n" {
			t.Errorf("got %q and %q", out, stderr.String())
		}
	})
	t.Run("a signal is handed on", func(t *testing.T) {
		cmd := command("wait")
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() || lines.Text() != "waiting" {
			t.Fatalf("got %q, %v, want waiting", lines.Text(), lines.Err())
		}
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "terminated" {
			t.Errorf("got %q, %v, want terminated", lines.Text(), lines.Err())
		}
		var exited *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exited) || exited.ExitCode() != 8 {
			t.Errorf("got %v, want exit code 8", err)
		}
	})
	t.Run("the network is a fresh one", func(t *testing.T) {
		out, err := command("interfaces").Output()
		if err != nil || string(out) != "1 lo <nil>\n" {
			t.Errorf("got %q, %v, want nothing but lo", out, err)
		}
	})
}

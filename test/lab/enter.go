package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"evenkeel.io/evenkeel/test/lab/binaries"
)

// stageEnv tells a re-executed process which part it plays.
const stageEnv = "EVENKEEL_LAB_STAGE"

// Stages of Enter. The caller has no stage, its child is the init process of
// the new PID namespace, and that one's child is the program proper.
const (
	stageInit = "init"
	stageMain = "main"
)

// ErrNoNamespaces is wrapped by the error that Enter reports where namespaces
// can't be made.
var ErrNoNamespaces = errors.New("the lab needs root, or a kernel that lets this user make user namespaces")

// Enter moves the calling program into private PID, network and mount
// namespaces. It must be called before anything else in main or TestMain, and
// returns only inside: the program that calls it is run again there with the
// same arguments, standard streams and working directory, and the outer one
// exits with the inner one's exit code.
//
// Whatever is started inside dies with the outer program, however that ends
// (the init process of a PID namespace takes all others with it, and is itself
// bound to its parent's life). /run is a private tmpfs, /proc and /sys show the
// new namespaces, and the host's network can't be reached.
//
// A control plane that isn't built yet is built first, while there is a network.
// Where namespaces are not to be had, Enter prints one sentence and exits with
// code 1.
func Enter() {
	switch os.Getenv(stageEnv) {
	case stageMain:
		// What this program starts isn't to take itself for a stage.
		if err := os.Unsetenv(stageEnv); err != nil {
			exit(err)
		}
	case stageInit:
		code, err := runInit()
		if err != nil {
			exit(err)
		}
		os.Exit(code)
	default:
		code, err := runOuter()
		if err != nil {
			exit(err)
		}
		os.Exit(code)
	}
}

// Inside tells whether this process runs in the namespaces that Enter makes.
func Inside() bool {
	_, err := os.Stat(insideMark)
	return err == nil
}

func exit(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(1)
}

// runOuter runs the init process and waits for it. It returns the exit code.
func runOuter() (int, error) {
	// Pdeathsig follows the thread that forked, not the process.
	runtime.LockOSThread()
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if !privileged() {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	bin, err := binaries.Ensure(context.Background(), binaries.Options{Progress: os.Stderr})
	if err != nil {
		return 0, err
	}
	// The write end of this pipe lives as long as this process: a second tie
	// beside Pdeathsig, which the kernel drops when credentials change.
	lifeline, held, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("making the lifeline: %w", err)
	}
	defer held.Close()
	cmd := restage(stageInit)
	cmd.Env = append(cmd.Env, binaries.DirEnv+"="+bin)
	cmd.SysProcAttr = attr
	cmd.ExtraFiles = []*os.File{lifeline}

	signals := make(chan os.Signal, 16)
	signal.Notify(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoNamespaces, err)
	}
	lifeline.Close()
	done := make(chan struct{})
	relayed := make(chan struct{})
	go func() {
		defer close(relayed)
		relay(signals, done, cmd.Process.Pid)
	}()
	err = cmd.Wait()
	close(done)
	<-relayed
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		return 0, fmt.Errorf("waiting for the lab: %w", err)
	}
	return exitCode(cmd.ProcessState.Sys().(syscall.WaitStatus)), nil
}

// privileged tells whether this process may make namespaces without a user
// namespace of its own. Root in a container often may not.
func privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW
	return caps[0].Effective&need == need
}

// restage is this program once more, as the given stage.
func restage(stage string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), stageEnv+"="+stage)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// relay passes signals on to pid until done is closed. What a terminal sends
// goes to the whole foreground process group, the child included: passing that
// on would deliver it twice, and a second Ctrl-C means "give up cleaning".
func relay(signals <-chan os.Signal, done <-chan struct{}, pid int) {
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			sig, ok := s.(syscall.Signal)
			if !ok || sig == unix.SIGCHLD || sig == unix.SIGURG || sig == unix.SIGPIPE || sig == unix.SIGWINCH {
				continue
			}
			if (sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGHUP) && inForeground() {
				continue
			}
			// The child may have ended meanwhile; then there is nobody to tell.
			_ = unix.Kill(pid, sig)
		}
	}
}

// inForeground tells whether this process group is its terminal's foreground one.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// exitCode is a shell's view of how a process ended.
func exitCode(status syscall.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// fdCount is the number of inherited descriptors before ExtraFiles.
const fdCount = 3

func lifelineFD() *os.File {
	return os.NewFile(fdCount, "lifeline "+strconv.Itoa(fdCount))
}

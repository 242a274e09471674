package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// runDir is the private tmpfs that holds everything a lab writes: nothing of it
// can stay behind, whatever happens.
const runDir = "/run"

// insideMark exists only in the namespaces that Enter makes.
const insideMark = runDir + "/evenkeel-lab"

// runInit is process 1 of the lab: it sets the mounts up, starts the program
// proper, hands signals on to it, reaps every orphan, and ends with the
// program. The kernel then kills whatever is left.
func runInit() (int, error) {
	runtime.LockOSThread()
	// The mounted /proc is still the outer one: it tells the outer number.
	outer, err := os.Readlink("/proc/self")
	if err != nil {
		return 0, fmt.Errorf("reading /proc/self: %w", err)
	}
	if err := setUpMounts(); err != nil {
		return 0, err
	}
	go func() {
		// Ends only by the outer process' end: then everything is to end.
		_, _ = io.Copy(io.Discard, lifelineFD())
		os.Exit(1)
	}()
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	cmd := restage(stageMain)
	cmd.Env = append(cmd.Env, outerPIDEnv+"="+outer)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting inside the lab: %w", err)
	}
	pid := cmd.Process.Pid
	done := make(chan struct{})
	defer close(done)
	go relay(signals, done, pid)
	for {
		// Not cmd.Wait: every orphan of the namespace is this process' child.
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("reaping: %w", err)
		case got == pid && (status.Exited() || status.Signaled()):
			return exitCode(status), nil
		}
	}
}

// setUpMounts gives this mount namespace its own /proc, /sys and /run.
func setUpMounts() error {
	wrap := func(err error) error {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			return fmt.Errorf("%w: %w", ErrNoNamespaces, err)
		}
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return wrap(fmt.Errorf("making mounts private: %w", err))
	}
	for _, m := range []struct {
		kind, path, data string
		flags            uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", runDir, "mode=0755", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := unix.Mount(m.kind, m.path, m.kind, m.flags, m.data); err != nil {
			return wrap(fmt.Errorf("mounting %s: %w", m.path, err))
		}
	}
	for _, dir := range []string{insideMark, runDir + "/netns"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", dir, err)
		}
	}
	// Bind mounts of namespaces are to stay in this mount namespace alone, but
	// ip-netns wants its folder to be a shared mount of its own.
	if err := unix.Mount(runDir+"/netns", runDir+"/netns", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return wrap(fmt.Errorf("binding the folder of namespaces: %w", err))
	}
	if err := unix.Mount("", runDir+"/netns", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return wrap(fmt.Errorf("sharing the folder of namespaces: %w", err))
	}
	return nil
}
